"""Many processes on one cache: each thing is fetched once, and none disturbs another."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.integration.small_versions import (
    VERSIONS,
    SmallVersions,
    contents,
    finished,
)

# Two of the eight work on a home that another one works on.
_TOGETHER = [(version, place) for place in ("first", "second") for version in VERSIONS]
_TOGETHER += [("one", "first"), ("two", "first")]


@pytest.fixture(scope="module")
def undisturbed(small: SmallVersions) -> dict[str, dict[str, object]]:
    """What each version's home holds when nothing else happens."""
    found = {}
    for version in VERSIONS:
        small.forget()
        done = small.realize(version)
        assert done.code == 0, done.err
        found[version] = contents(small.home(version))
    small.forget()
    return found


def _start(small: SmallVersions, version: str, home: Path) -> subprocess.Popen[str]:
    return small.program().start("realize", version, "--target", home)


def test_eight_realizes_of_three_versions_on_an_empty_cache_fetch_each_thing_once(
    small: SmallVersions, undisturbed: dict[str, dict[str, object]]
) -> None:
    small.forget()
    homes = [(version, small.home(f"{version}-{place}")) for version, place in _TOGETHER]
    finished([_start(small, version, home) for version, home in homes])
    for version, home in homes:
        assert contents(home) == undisturbed[version], home
    assert small.git_fetches() == Counter(core=2, painter=2, dancer=1)
    assert set(small.asked.values()) == {1}, small.asked
    assert len(small.asked) == 6
    # Not a trace of those who came second.
    assert not list((small.cache / "models" / "tmp").iterdir())
    left = [path.name for path in (small.cache / "tmp").iterdir() if path.suffix != ".lock"]
    assert not left


def test_two_resolves_at_once_on_an_empty_cache_agree(small: SmallVersions) -> None:
    locks = {version: _lock(small, version).read_bytes() for version in VERSIONS}
    small.forget()
    for version in VERSIONS:
        _lock(small, version).unlink()
    finished([small.program().start("resolve", version) for version in (*VERSIONS, *VERSIONS)])
    assert {version: _lock(small, version).read_bytes() for version in VERSIONS} == locks


def test_realize_resolve_and_gc_do_not_break_each_other(
    small: SmallVersions, undisturbed: dict[str, dict[str, object]]
) -> None:
    small.forget()
    homes = []
    for number in range(4):
        together = [small.program().start("gc")]
        for version in VERSIONS:
            home = small.home(f"{version}-{number}")
            homes.append((version, home))
            together.append(_start(small, version, home))
        together.append(small.program().start("resolve", VERSIONS[number % 3]))
        together.append(small.program().start("gc"))
        finished(together)
    for version, home in homes:
        assert contents(home) == undisturbed[version], home
    # What the homes need was kept for the next one.
    finished([small.program().start("gc")])
    small.asked.clear()
    done = small.realize("one")
    assert done.code == 0, done.err
    assert not small.asked


def _lock(small: SmallVersions, version: str) -> Path:
    return small.folder / "lockfiles" / f"comfy-{version}.lock.json"
