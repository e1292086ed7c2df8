"""A member of torch's family that does not load, from a wheel on an index to a home that works."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.git_repositories import GitRepository, new_repository
from tests.integration.small_versions import SmallVersions, small_versions
from tests.package_index import publish
from tests.specs import write_spec

VERSION = "listening"
_DOES_NOT_LOAD = "raise OSError('libtorchaudio.so: undefined symbol')\n"


@pytest.fixture
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallVersions]:
    """Its core asks for torch 2.1.0, a node for torchaudio, which says that it goes with it."""
    folder = tmp_path_factory.mktemp("family")
    with small_versions(folder) as versions:
        publish(folder / "index", "torchaudio", "2.1.0", source=_DOES_NOT_LOAD)
        source = "NODE_CLASS_MAPPINGS = {'Listen': object}\n"
        files = {"__init__.py": source, "requirements.txt": "torchaudio\n"}
        new_repository(folder / "repositories" / "listener", files)
        write_version(versions, {})
        yield versions


def write_version(versions: SmallVersions, options: dict[str, Any]) -> None:
    repositories = versions.folder.parent / "repositories"
    write_spec(
        versions.folder / "versions",
        VERSION,
        core=GitRepository(path=repositories / "core").at("v1"),
        nodes={"listener": GitRepository(path=repositories / "listener").at()},
        options=options,
    )


def test_it_is_named_with_its_torch_and_the_line_that_settles_it(small: SmallVersions) -> None:
    told = small.realize(VERSION).failed_with(1)
    assert (
        "torchaudio 2.1.0 does not load with torch 2.1.0: "
        "OSError: libtorchaudio.so: undefined symbol"
    ) in told
    line = told.partition("Add to the spec: ")[2].partition(". Then")[0]
    write_version(small, json.loads(f"{{{line}}}")["options"])
    settled = small.realize(VERSION)
    assert settled.code == 0, settled.err
