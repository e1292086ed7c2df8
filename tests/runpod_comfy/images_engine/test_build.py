"""A version becomes an image, by the program itself and the engine of this machine."""

from __future__ import annotations

import base64
import contextlib
import gzip
import io
import json
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from comfy_files.progress import say_nothing
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.images.base.catalogue import BaseImage
from runpod_comfy.images.base.debian import trusted_certificates
from runpod_comfy.images.context.inputs import gather_inputs, write_context
from runpod_comfy.images.dockerfile import LAYERS
from runpod_comfy.images.plan import make_build_plan
from runpod_comfy.lock.store import load_lock
from tests.containers import base_image, run_to_end
from tests.program import Outcome
from tests.runpod_comfy.images_engine.private_version import (
    GIT_TOKEN,
    INDEX_TOKEN,
    LAST_NODE,
    NODE,
    NODE_SOURCE,
    PERSON,
    TOKENS,
    VERSION,
    PrivateVersion,
    private_version,
)

_HASHES = """
import hashlib, pathlib, sys
root = pathlib.Path(sys.argv[1])
for path in sorted(path for path in root.rglob("*") if path.is_file()):
    print(hashlib.sha256(path.read_bytes()).hexdigest(), path.relative_to(root))
"""
_GZIP = b"\x1f\x8b"


@pytest.fixture(scope="module")
def python_base(engine: docker.DockerClient) -> str:
    """A base with Python."""
    return base_image(engine)


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateVersion]:
    folder = tmp_path_factory.mktemp("private") / "version"
    with private_version(folder) as version:
        yield version


@pytest.fixture(scope="module")
def repository(engine: docker.DockerClient) -> Iterator[str]:
    """The images of these tests; they go in the end."""
    name = f"runpod-comfy-test-build-{uuid.uuid4().hex[:12]}"
    yield name
    for image in engine.api.images():
        for tag in image["RepoTags"] or ():
            if tag.startswith(f"{name}:"):
                engine.images.remove(tag, force=True)


@pytest.fixture(scope="module")
def built(version: PrivateVersion, repository: str, python_base: str) -> tuple[str, Outcome]:
    """The image's tag, and what its build said."""
    tag = f"{repository}:first"
    return tag, _build(version, tag, python_base, "--verbose")


def _build(version: PrivateVersion, tag: str, base: str, *options: str) -> Outcome:
    done = version.program(
        *("image", "build", VERSION, "--base", base, "--tag", tag, "--json", *options)
    )
    assert done.code == 0, done.err
    return done


def _steps(done: Outcome) -> dict[str, bool]:
    """Whether the engine took each step from its cache."""
    return {step["name"]: step["cached"] for step in done.document()["steps"]}


def _layers(engine: docker.DockerClient, tag: str, base: str) -> dict[str, str]:
    """The digest of each layer that is not the base's, by the name of its step."""
    below = engine.images.get(base).attrs["RootFS"]["Layers"]
    image = engine.images.get(tag)
    digests = image.attrs["RootFS"]["Layers"]
    assert digests[: len(below)] == below
    own = ["frame", *(name for name, _ in json.loads(image.labels[LAYERS])), "workflows"]
    # Some engines add an empty layer for WORKDIR.
    names = [*own, *(["working folder"] if len(digests) > len(below) + len(own) else [])]
    return dict(zip(names, digests[len(below) :], strict=True))


def test_the_image_has_both_its_names_and_its_labels(
    engine: docker.DockerClient, built: tuple[str, Outcome], version: PrivateVersion
) -> None:
    tag, done = built
    lock = load_lock(version.folder / "lockfiles" / f"comfy-{VERSION}.lock.json")
    image = engine.images.get(tag)
    short = lock.digest.removeprefix("sha256:")[:12]
    assert {tag, f"{tag.split(':')[0]}:{VERSION}-{short}"} <= set(image.tags)
    assert done.document()["image"] == image.id
    assert image.labels["org.opencontainers.image.version"] == VERSION
    assert image.labels["io.runpod-comfy.lock"] == lock.digest


def test_a_package_of_a_closed_index_is_in_the_image(built: tuple[str, Outcome]) -> None:
    done = run_to_end(
        built[0],
        ["-c", "import private_colours; print(private_colours.__version__)"],
        entrypoint=["/opt/comfy/.venv/bin/python"],
    )
    assert done.out == "1.0\n", done.err


def test_an_image_gives_the_same_bytes_as_this_machine(
    built: tuple[str, Outcome], version: PrivateVersion, tmp_path: Path
) -> None:
    workflow = version.folder / "workflows" / "colour.json"
    there = run_to_end(built[0], ["--workflow", "/app/workflows/colour.json", "--output", "base64"])
    assert there.code == 0, there.err
    here = version.program(
        *("run", VERSION, "--target", tmp_path / "home"),
        *("--workflow", workflow, "--output", "base64"),
    )
    assert _picture(json.loads(there.out)) == _picture(here.document()) == b"as blue as can be"


def test_packages_that_share_files_leave_the_same_ones_in_an_image_and_in_a_home(
    built: tuple[str, Outcome], version: PrivateVersion, tmp_path: Path
) -> None:
    here = version.program("realize", VERSION, "--target", tmp_path / "home", "--json")
    assert here.code == 0, here.err
    assert version.program("realize", VERSION, "--target", tmp_path / "home", "--verify").code == 0
    there = run_to_end(
        built[0],
        ["-c", _HASHES, "/opt/comfy/.venv/lib"],
        entrypoint=["/opt/comfy/.venv/bin/python"],
    )
    hashes = [sys.executable, "-c", _HASHES, str(tmp_path / "home/.venv/lib")]
    found = subprocess.check_output(hashes, text=True)
    assert "site-packages/tests/check.py" in found
    # Built from source, with what the spec says that it needs.
    assert "site-packages/private_tint.py" in found
    assert found == there.out


def _picture(result: dict[str, Any]) -> bytes:
    (image,) = result["images"]
    return base64.b64decode(image["data"])


def test_a_second_build_runs_nothing(
    built: tuple[str, Outcome],
    version: PrivateVersion,
    repository: str,
    python_base: str,
    engine: docker.DockerClient,
) -> None:
    tag = f"{repository}:second"
    again = _build(version, tag, python_base)
    cached = _steps(again)
    names = [name for name, _ in json.loads(engine.images.get(tag).labels[LAYERS])]
    assert {name: cached[name] for name in names} == dict.fromkeys(names, True)
    assert engine.images.get(tag).id == engine.images.get(built[0]).id


def test_after_an_edit_of_one_node_only_its_layer_and_the_check_are_new(
    built: tuple[str, Outcome],
    version: PrivateVersion,
    repository: str,
    python_base: str,
    engine: docker.DockerClient,
) -> None:
    before = _layers(engine, built[0], python_base)
    # The engine must not know it from an earlier run of this test.
    tag = f"{repository}:edited"
    with version.with_node(f"{NODE_SOURCE}# {uuid.uuid4()}\n"):
        cached = _steps(_build(version, tag, python_base))
    after = _layers(engine, tag, python_base)

    names = [name for name, _ in json.loads(engine.images.get(tag).labels[LAYERS])]
    earlier = names[: names.index(f"node:{NODE}")]
    assert earlier[-1] == "models"
    assert {name: cached[name] for name in earlier} == dict.fromkeys(earlier, True)
    assert not cached[f"node:{NODE}"]
    assert not cached[f"node:{LAST_NODE}"], "what comes after it runs, and comes out the same"
    assert {name for name in after if after[name] != before[name]} == {f"node:{NODE}", "check"}


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(["--network", "none"], id="without-a-network"),
        pytest.param(
            ["--ca-bundle", str(trusted_certificates() or DEFAULT_CA_BUNDLE_PATH)],
            id="with-certificates-for-the-build",
        ),
    ],
)
def test_how_packages_come_into_a_build_leaves_nothing_in_its_layers(
    built: tuple[str, Outcome],
    version: PrivateVersion,
    repository: str,
    python_base: str,
    engine: docker.DockerClient,
    options: list[str],
) -> None:
    tag = f"{repository}:again"
    # The engine may know these steps from an earlier run of this test.
    _build(version, tag, python_base, "--no-cache", *options)
    assert _layers(engine, tag, python_base) == _layers(engine, built[0], python_base)


def test_a_node_that_does_not_import_fails_the_build_by_its_name(
    version: PrivateVersion, repository: str, python_base: str, engine: docker.DockerClient
) -> None:
    tag = f"{repository}:broken"
    with version.with_node("import nothing_of_that_name\n"):
        done = version.program("image", "build", VERSION, "--base", python_base, "--tag", tag)
    told = done.failed_with(1)
    assert "the layer 'check' did not build" in told
    assert NODE in told
    assert "nothing_of_that_name" in told
    with pytest.raises(docker.errors.ImageNotFound):
        engine.images.get(tag)


_PATCHES = "open(private_colours.__file__, 'a').write('PATCHED = True')"


def test_a_node_that_changes_a_package_fails_the_build_with_its_line(
    version: PrivateVersion, repository: str, python_base: str
) -> None:
    with version.with_node(f"import private_colours\n{_PATCHES}\n"):
        done = version.program(
            *("image", "build", VERSION, "--base", python_base, "--tag", f"{repository}:patched")
        )
    told = done.failed_with(1)
    assert f"the custom node {NODE} may not change the Python environment: " in told
    assert f"custom_nodes/{NODE}/__init__.py, line 2: PermissionError" in told
    assert "writable_environment" in told


def test_root_cannot_change_a_package_when_the_image_runs_either(
    version: PrivateVersion, repository: str, python_base: str
) -> None:
    tag = f"{repository}:guarded"
    text = (
        f"{NODE_SOURCE}\nimport os, pathlib\n"
        "pathlib.Path(__file__).with_name('started.txt').write_text('started')\n"
        f"if 'PATCH' in os.environ:\n    try:\n        {_PATCHES}\n"
        "    except PermissionError:\n        pass\n"
    )
    with version.with_node(text):
        built = _build(version, tag, python_base)
    assert f"Starting ComfyUI changes 1 file of the home: ComfyUI/custom_nodes/{NODE}/" in built.err
    ran = run_to_end(
        tag,
        entrypoint=["sh", "-c"],
        command=[
            "python -m rp_handler.main --workflow /app/workflows/colour.json --output base64; "
            "cat /opt/comfy/.venv/lib/python3*/*/private_colours.py"
        ],
        environment={"PATCH": "1"},
        user="0:0",
    )
    assert "COLOUR = " in ran.out
    assert "PATCHED" not in ran.out, ran.err
    assert '"type": "base64"' in ran.out, ran.err


def test_no_secret_of_the_person_is_in_the_image_its_history_or_the_log(
    engine: docker.DockerClient, built: tuple[str, Outcome]
) -> None:
    tag, done = built
    image = engine.images.get(tag)
    _assert_clean("what the build said", (done.out + done.err).encode())
    _assert_clean("history", json.dumps(image.history()).encode())
    _assert_clean("configuration and labels", json.dumps(image.attrs).encode())
    files = 0
    for name, content in _saved_files(image):
        _assert_clean(name, content)
        files += 1
    assert files > 1000, "the layers were looked into"


def test_no_secret_of_the_person_is_in_the_context(
    version: PrivateVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in version.variables.items():
        monkeypatch.setenv(name, value)
    build_plan = make_build_plan(
        load_lock(version.folder / "lockfiles" / f"comfy-{VERSION}.lock.json"),
        BaseImage(image="debian:bookworm-slim"),
        platform="linux-x86_64",
    )
    fetch_context = FetchContext(
        cache=Cache.from_environment(),
        base_dir=version.folder / "versions",
        offline=False,
        say=say_nothing,
    )
    context = io.BytesIO()
    build_inputs = gather_inputs(
        build_plan, fetch_context, workflows=[version.folder / "workflows" / "colour.json"]
    )
    write_context(
        context, dockerfile=build_plan.text, steps=build_plan.steps, build_inputs=build_inputs
    )
    _assert_clean("the context", context.getvalue())
    context.seek(0)
    with tarfile.open(fileobj=context) as archive:
        names = archive.getnames()
    assert [name for name in names if name.startswith("layers/wheels/wheels/")] == [
        "layers/wheels/wheels/private_colours-1.0-py3-none-any.whl",
        "layers/wheels/wheels/private_shades-1.0-py3-none-any.whl",
        "layers/wheels/wheels/private_tint-1.0.tar.gz",
    ]


def _assert_clean(place: str, content: bytes) -> None:
    for secret in _secrets():
        assert secret not in content, f"{secret!r} is in {place}"


def _secrets() -> list[bytes]:
    """The tokens, and the logins as HTTP sends them."""
    logins = [f"{PERSON}:{token}".encode() for token in (INDEX_TOKEN, GIT_TOKEN)]
    return [
        *(token.encode() for token in TOKENS),
        *(base64.b64encode(login).rstrip(b"=") for login in logins),
        PERSON.encode(),
    ]


def _saved_files(image: Any) -> Iterator[tuple[str, bytes]]:
    """Every file of the saved image, and every file in every layer, unpacked where it is packed."""
    saved = io.BytesIO(b"".join(image.save(named=True)))
    with tarfile.open(fileobj=saved) as archive:
        for member in archive:
            content = _content(archive, member)
            yield member.name, content
            with (
                contextlib.suppress(tarfile.ReadError),
                tarfile.open(fileobj=io.BytesIO(content)) as layer,
            ):
                for inner in layer:
                    yield f"{member.name}: {inner.name}", _content(layer, inner)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member) if member.isfile() else None
    content = file.read() if file else b""
    return gzip.decompress(content) if content.startswith(_GZIP) else content
