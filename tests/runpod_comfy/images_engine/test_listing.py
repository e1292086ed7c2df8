"""`list` on a machine with an engine: the images of a version, by their labels."""

from __future__ import annotations

import json
from pathlib import Path

import docker
import pytest

from runpod_comfy.api.versions import select
from runpod_comfy.cli.app import run_command_line
from runpod_comfy.images.dockerfile import LOCK as LOCK_LABEL
from runpod_comfy.images.dockerfile import VERSION
from tests.runpod_comfy.images_engine.builds import build
from tests.runpod_comfy.images_engine.small_image import context


def test_images_of_the_lock_and_of_an_older_one_are_listed(
    engine: docker.DockerClient,
    base: str,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    version_id = name.removeprefix("runpod-comfy-")
    core = tmp_path / "versions" / "core"
    core.mkdir(parents=True)
    for file in ("main.py", "folder_paths.py"):
        (core / file).write_text("")
    spec = {"schema_version": 2, "version_id": version_id, "comfy": {"repo": "core"}}
    (tmp_path / "versions" / f"{version_id}.json").write_text(json.dumps(spec))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COMFY_CACHE_ROOT", str(tmp_path / "cache"))
    monkeypatch.delenv("LOCK_PATH", raising=False)
    lock = select(version_id).lock
    for tags, digest in (
        ([f"{name}:new", f"{name}:new-by-its-lock"], lock.digest),
        ([f"{name}:older"], "sha256:0"),
    ):
        build(
            engine,
            context(f"FROM {base}\nRUN LAYER=a sh -c 'echo {digest} > /a'\n"),
            tags=tags,
            labels={VERSION: version_id, LOCK_LABEL: digest},
        )
    capsys.readouterr()

    assert run_command_line(["list", "--json"]) == 0

    (version,) = json.loads(capsys.readouterr().out)["versions"]
    images = {image["tags"][0]: image for image in version["images"]}
    assert images.keys() == {f"{name}:new", f"{name}:older"}
    assert images[f"{name}:new"]["tags"] == [f"{name}:new", f"{name}:new-by-its-lock"]
    assert images[f"{name}:new"]["lock_digest"] == version["lock_digest"] == lock.digest

    assert run_command_line(["list"]) == 0

    heading, first, second = (line.split() for line in capsys.readouterr().out.splitlines())
    assert heading == ["VERSION", "LOCK", "HOME", "IMAGE"]
    assert first == [version_id, "fresh", "-", f"{name}:new"]
    assert second == [f"{name}:older", "(outdated)"]
