"""The command that pushes a built image, as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import docker
import pytest

from comfy_errors import InvalidInputError, UnavailableError
from runpod_comfy.cli.app import build_parser
from runpod_comfy.cli.show.console import Console
from runpod_comfy.images.dockerfile import LOCK as LOCK_LABEL
from runpod_comfy.images.dockerfile import VERSION
from tests.containers import Registry
from tests.runpod_comfy.images_engine.builds import build
from tests.runpod_comfy.images_engine.small_image import context

LOCK = "sha256:" + "0123456789abcdef" * 4


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFY_CACHE_ROOT", str(tmp_path / "cache"))
    monkeypatch.delenv("COMFY_VERSION_NAME", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def image(engine: docker.DockerClient, base: str, name: str) -> str:
    """An image with the labels of ours, of a version that no folder has."""
    reference = f"{name}:mine"
    build(
        engine,
        context(f"FROM {base}\nRUN LAYER=node:a sh -c 'echo a > /node'\n"),
        tags=[reference],
        labels={VERSION: "not-a-version", LOCK_LABEL: LOCK},
    )
    return reference


def _push(*arguments: str) -> int:
    parsed = build_parser().parse_args(["image", "push", *arguments])
    return int(parsed.run(parsed, Console(as_json=parsed.as_json)))


def test_an_image_goes_out_under_its_tag_and_its_lock_and_the_digest_is_printed_and_kept(
    image: str,
    name: str,
    registry: Registry,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _push("--tag", image, "--registry", f"{registry.address}/me") == 0

    told = capsys.readouterr()
    there = f"{registry.address}/me/{name}"
    record = json.loads((tmp_path / "cache/pushed" / there / "mine.json").read_text())
    names = [f"{there}:mine", f"{there}:not-a-version-0123456789ab"]
    assert told.out.splitlines() == [f"{each}  {record['digest']}" for each in names]
    assert "pushed" in told.err
    assert "already exists" in told.err
    assert record["reference"] == names[0]
    assert record["lock_digest"] == LOCK
    assert (tmp_path / "cache/pushed" / there / "not-a-version-0123456789ab.json").is_file()


def test_the_answer_for_machines_is_one_document(
    image: str, name: str, registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _push("--tag", image, "--registry", f"{registry.address}/me", "--json") == 0

    pushed = json.loads(capsys.readouterr().out)["pushed"]
    assert [each["version_id"] for each in pushed] == ["not-a-version"] * 2
    assert len({each["digest"] for each in pushed}) == 1
    assert pushed[0]["pinned"] == f"{registry.address}/me/{name}@{pushed[0]['digest']}"


def test_a_registry_that_is_gone_is_unavailable_and_leaves_no_trace(
    engine: docker.DockerClient, image: str, registry: Registry, tmp_path: Path
) -> None:
    registry.kill()

    with pytest.raises(UnavailableError, match="connection refused"):
        _push("--tag", image, "--registry", registry.address)

    assert not (tmp_path / "cache/pushed").exists()
    assert engine.images.get(image).tags == [image]


def test_a_failed_push_keeps_a_name_that_was_there(
    engine: docker.DockerClient, base: str, image: str, registry: Registry
) -> None:
    registry.kill()
    there = f"{registry.address}/{image}"
    for named in (base, image):
        assert engine.images.get(named).tag(there)
        before = engine.images.get(there).id

        with pytest.raises(UnavailableError):
            _push("--tag", image, "--registry", registry.address)

        assert engine.images.get(there).id == before
    engine.images.remove(there)


def test_a_version_that_was_not_built_is_reported_with_how_to_build_it(engine: object) -> None:
    with pytest.raises(UnavailableError, match="no image runpod-comfy:never-built") as raised:
        _push("never-built", "--registry", "127.0.0.1:1")

    assert "image build" in raised.value.remedy
    assert raised.value.remedy.endswith("name another image with --tag.")


def test_an_image_of_another_program_is_not_pushed(base: str) -> None:
    with pytest.raises(InvalidInputError, match="was not built by runpod-comfy"):
        _push("--tag", base, "--registry", "127.0.0.1:1")


def test_an_image_without_a_registry_goes_nowhere(image: str) -> None:
    with pytest.raises(InvalidInputError, match="no registry to push") as raised:
        _push("--tag", image)

    assert "--registry" in raised.value.remedy
