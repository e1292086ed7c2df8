"""A member of torch's family that does not load, from a wheel on an index to a home that works."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.git_repositories import new_repository
from tests.integration.small_versions import SmallVersions, small_versions
from tests.package_index import make_wheel, write_index

VERSION = "listening"
_DOES_NOT_LOAD = "raise OSError('libtorchaudio.so: undefined symbol')\n"


@pytest.fixture
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallVersions]:
    """Its core asks for torch 2.1.0, a node for torchaudio, which says that it goes with it."""
    folder = tmp_path_factory.mktemp("family")
    with small_versions(folder) as versions:
        files = folder / "index" / "files"
        make_wheel(files, "torchaudio", "2.1.0", source=_DOES_NOT_LOAD)
        write_index(folder / "index")
        node = new_repository(folder / "repositories" / "listener")
        node.write("__init__.py", "NODE_CLASS_MAPPINGS = {'Listen': object}\n")
        node.write("requirements.txt", "torchaudio\n")
        node.commit("A listener")
        write_spec(versions, {})
        yield versions


def write_spec(versions: SmallVersions, options: dict[str, Any]) -> None:
    repositories = versions.folder.parent / "repositories"
    spec = {
        "schema_version": 2,
        "version_id": VERSION,
        "comfy": {"repo": (repositories / "core").as_uri(), "ref": "v1"},
        "custom_nodes": [{"name": "listener", "repo": (repositories / "listener").as_uri()}],
        "options": options,
    }
    (versions.folder / "versions" / f"{VERSION}.json").write_text(json.dumps(spec))


def test_it_is_named_with_its_torch_and_the_line_that_settles_it(small: SmallVersions) -> None:
    told = small.realize(VERSION).failed_with(1)
    assert (
        "torchaudio 2.1.0 does not load with torch 2.1.0: "
        "OSError: libtorchaudio.so: undefined symbol"
    ) in told
    line = told.partition("settles it: ")[2].partition(". Then")[0]
    write_spec(small, json.loads(f"{{{line}}}")["options"])
    settled = small.realize(VERSION)
    assert settled.code == 0, settled.err
