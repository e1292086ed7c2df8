"""Disks that are full or cannot be written to: a clear error, and nothing half done that counts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.small_versions import SmallVersions, contents, kept
from tests.program import Outcome

VERSION = "three"

# Whoever may mount gets real disks of any size.
pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="mounts disks, which Linux lets root do"
)


@pytest.fixture(scope="module")
def undisturbed(small: SmallVersions) -> tuple[dict[str, object], dict[str, dict[str, object]]]:
    """What the home and the cache hold when there is room."""
    small.forget()
    done = small.realize(VERSION)
    assert done.code == 0, done.err
    return contents(small.home(VERSION)), kept(small.cache)


class Disk:
    """A disk of its own at `place`."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def resize(self, kilobytes: int) -> None:
        self._mount(f"remount,size={kilobytes}k")

    def make_read_only(self) -> None:
        self._mount("remount,ro")

    def _mount(self, options: str) -> None:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.place)]
        subprocess.run(command, check=True)


@contextmanager
def disk(place: Path, kilobytes: int) -> Iterator[Disk]:
    place.mkdir(parents=True, exist_ok=True)
    made = Disk(place)
    made._mount(f"size={kilobytes}k")
    try:
        yield made
    finally:
        subprocess.run(["umount", str(place)], check=True)


def _failed_in_words(outcome: Outcome) -> bool:
    """Whether it failed; if it did, for a reason that it reports."""
    if outcome.code == 0:
        return False
    said = outcome.failed_with(1)
    assert "error: " in said
    reasons = ("disk full", "disk is full", "free there", "read-only")
    assert any(words in said for words in reasons), said
    return True


# From nothing at all to nearly everything.
SIZES = (4, 100, 300, 700, 2500, 4000, 6000, 9000)


def test_a_cache_that_fills_up_holds_nothing_half_done(
    small: SmallVersions,
    undisturbed: tuple[dict[str, object], dict[str, dict[str, object]]],
    tmp_path: Path,
) -> None:
    here = replace(
        small, variables={**small.variables, "COMFY_CACHE_ROOT": str(tmp_path / "cache")}
    )
    home, whole = undisturbed
    failures = 0
    for size in SIZES:
        small.forget()
        with disk(here.cache, size) as its_disk:
            failures += _failed_in_words(here.realize(VERSION))
            for name, held in kept(here.cache).items():
                assert held == whole[name], f"{size} kB: {name} is not whole"
            its_disk.resize(100_000)
            done = here.realize(VERSION)
            assert done.code == 0, done.err
            assert contents(here.home(VERSION)).keys() == home.keys()
            for name, held in kept(here.cache).items():
                assert held == whole[name], name
    assert failures >= len(SIZES) // 2


def test_a_home_that_fills_up_is_not_whole_and_continues_when_there_is_room(
    small: SmallVersions,
    undisturbed: tuple[dict[str, object], dict[str, dict[str, object]]],
) -> None:
    home, _ = undisturbed
    small.forget()
    failures = 0
    for size in (4, 60, 200, 400, 700, 1100):
        with disk(small.home(VERSION), size) as its_disk:
            failed = _failed_in_words(small.realize(VERSION))
            failures += failed
            if failed:
                used = small.program()("run", VERSION, "--target", small.home(VERSION))
                assert used.code != 0
            its_disk.resize(100_000)
            done = small.realize(VERSION)
            assert done.code == 0, done.err
            assert contents(small.home(VERSION)).keys() == home.keys()
    assert failures >= 3


def test_a_folder_of_locks_that_is_full_keeps_the_old_lock(small: SmallVersions) -> None:
    lock = small.folder / "lockfiles" / f"comfy-{VERSION}.lock.json"
    spec = small.folder / "versions" / f"{VERSION}.json"
    old, asked = lock.read_bytes(), spec.read_text()
    with disk(lock.parent, 8) as its_disk:
        ballast = lock.parent / "ballast"
        ballast.write_bytes(b"x" * 8192)
        assert _failed_in_words(small.program()("resolve", VERSION))
        assert list(lock.parent.iterdir()) == [ballast]
        its_disk.resize(len(old) // 1024 + 12)
        lock.write_bytes(old)
        spec.write_text(json.dumps(json.loads(asked) | {"env": {"COLOUR": "x" * 9000}}))
        assert _failed_in_words(small.program()("resolve", VERSION))
        assert lock.read_bytes() == old
        its_disk.resize(1000)
        assert small.program()("resolve", VERSION).code == 0
        assert lock.read_bytes() != old
    spec.write_text(asked)


def test_a_cache_that_cannot_be_written_to_is_reported(
    small: SmallVersions, tmp_path: Path
) -> None:
    here = replace(
        small, variables={**small.variables, "COMFY_CACHE_ROOT": str(tmp_path / "cache")}
    )
    small.forget()
    with disk(here.cache, 100_000) as its_disk:
        its_disk.make_read_only()
        assert _failed_in_words(here.realize(VERSION))
        assert _failed_in_words(here.program()("resolve", VERSION, "--upgrade"))
        assert not list(here.cache.iterdir())
        assert not (here.home(VERSION) / "ComfyUI").exists()


def test_a_whole_home_needs_nothing_to_be_written(small: SmallVersions, tmp_path: Path) -> None:
    here = replace(
        small, variables={**small.variables, "COMFY_CACHE_ROOT": str(tmp_path / "cache")}
    )
    small.forget()
    with disk(here.cache, 100_000) as its_disk:
        assert here.realize(VERSION).code == 0
        its_disk.make_read_only()
        done = here.realize(VERSION)
        assert done.code == 0, done.err
