"""The base image of Debian packages: what it has, and what it does not have."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from runpod_comfy.sources.index.pip_settings import read_pip_settings
from tests.containers import run_to_end

_NEEDED = "import bz2, ctypes, lzma, sqlite3, ssl, sys, venv, zlib, zoneinfo"


@pytest.fixture(scope="module")
def layer(
    engine: docker.DockerClient, base_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tarfile.TarFile]:
    """The image's one layer, as the engine saves it."""
    saved = tmp_path_factory.mktemp("base") / "saved.tar"
    with saved.open("wb") as file:
        for chunk in engine.images.get(base_image).save():
            file.write(chunk)
    with tarfile.open(saved) as image:
        manifest = image.extractfile("manifest.json")
        assert manifest is not None
        (only,) = json.load(manifest)[0]["Layers"]
        content = image.extractfile(only)
        assert content is not None
        with tarfile.open(fileobj=io.BytesIO(content.read())) as opened:
            yield opened


def _text(layer: tarfile.TarFile, name: str) -> str:
    file = layer.extractfile(name)
    assert file is not None
    return file.read().decode()


def test_its_python_is_that_of_the_release_and_whole(base_image: str) -> None:
    done = run_to_end(base_image, ["python3", "-c", f"{_NEEDED}; print(sys.version_info[:2])"])
    assert (done.code, done.out) == (0, "(3, 11)\n"), done.err


def test_its_python_reaches_the_package_index_with_the_certificates_of_this_machine(
    base_image: str,
) -> None:
    index = read_pip_settings().index_urls[0]
    script = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).status)"
    done = run_to_end(base_image, ["python3", "-c", script, f"{index}/pip/"])
    assert done.out == "200\n", done.err


def test_caches_logs_and_manuals_are_not_in_it(layer: tarfile.TarFile) -> None:
    places = ("var/cache/apt/", "var/lib/apt/lists/", "var/log/", "root/.cache/", "tmp/", "run/")
    manuals = ("usr/share/man/", "usr/share/locale/", "usr/share/info/", "usr/share/lintian/")
    files = [Path(member.name).as_posix() for member in layer if not member.isdir()]
    assert [name for name in files if name.startswith(places + manuals)] == []
    documents = [name for name in files if name.startswith("usr/share/doc/")]
    assert documents, "licences stay"
    assert {Path(name).name for name in documents} == {"copyright"}


def test_files_that_an_engine_mounts_over_are_there_and_name_no_machine(
    layer: tarfile.TarFile,
) -> None:
    assert _text(layer, "./etc/hosts") == "127.0.0.1\tlocalhost\n::1\tlocalhost\n"
    assert _text(layer, "./etc/resolv.conf") == ""
    assert _text(layer, "./etc/hostname") == "localhost\n"


def test_no_file_tells_the_day_on_which_it_was_made(layer: tarfile.TarFile) -> None:
    """The newest date in it is one of Debian's, and accounts carry that one too."""
    newest = max(member.mtime for member in layer)
    days = {int(line.split(":")[2]) for line in _text(layer, "./etc/shadow").splitlines()}
    assert days == {newest // 86400}
