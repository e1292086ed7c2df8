"""Killed outright at any moment, a realization comes out as if nothing had happened."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.small_versions import SmallVersions, contents, kept, small_versions

MOMENTS = 50
VERSION = "three"
_LINUX = sys.platform == "linux"


@dataclass(frozen=True, kw_only=True)
class Undisturbed:
    """A realization from an empty cache to its end: what it left, and how long it took."""

    home: dict[str, object]
    cache: dict[str, dict[str, object]]
    seconds: float


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallVersions]:
    with small_versions(tmp_path_factory.mktemp("small")) as made:
        yield made


@pytest.fixture(scope="module")
def undisturbed(small: SmallVersions) -> Undisturbed:
    # The second time everything outside the cache is warm.
    for _ in range(2):
        small.forget()
        started = time.monotonic()
        done = small.realize(VERSION)
        seconds = time.monotonic() - started
        assert done.code == 0, done.err
    return Undisturbed(home=contents(small.home(VERSION)), cache=kept(small.cache), seconds=seconds)


def test_killed_at_fifty_random_moments(small: SmallVersions, undisturbed: Undisturbed) -> None:
    seed = int(os.environ.get("KILL_SEED") or random.randrange(2**32))
    sys.stdout.write(f"KILL_SEED={seed}\n")
    chance = random.Random(seed)
    for number in range(MOMENTS):
        delay_s = undisturbed.seconds * (number + chance.random()) / MOMENTS
        everything = _LINUX and number % 2 == 0
        said = f"KILL_SEED={seed}, moment {number}, {delay_s:.3f} s, everything: {everything}"
        small.forget()
        _kill(small, delay_s, everything=everything)
        if everything:
            for name, held in kept(small.cache).items():
                assert held == undisturbed.cache[name], f"{said}: {name} is not whole"
        done = small.realize(VERSION)
        assert done.code == 0, f"{said}: {done.err}"
        assert contents(small.home(VERSION)) == undisturbed.home, said
        assert kept(small.cache) == undisturbed.cache, said


def test_killed_again_and_again_it_still_comes_out_the_same(
    small: SmallVersions, undisturbed: Undisturbed
) -> None:
    small.forget()
    for number in range(10):
        _kill(small, undisturbed.seconds * number / 10, everything=_LINUX and number % 2 == 0)
    done = small.realize(VERSION)
    assert done.code == 0, done.err
    assert contents(small.home(VERSION)) == undisturbed.home
    assert kept(small.cache) == undisturbed.cache


def _kill(small: SmallVersions, delay_s: float, *, everything: bool) -> None:
    """Starts a realization and kills it after a while: the program alone, or all that it started,
    as when a machine goes down."""
    mark = f"killed-{time.monotonic_ns()}"
    process = small.program(COMFY_TEST_MARK=mark).start(
        "realize", VERSION, "--target", small.home(VERSION)
    )
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=delay_s)
    if everything:
        while _signal_marked(mark):
            pass
    else:
        process.kill()
    process.communicate()


def _signal_marked(mark: str) -> bool:
    """Kills every process whose environment has `mark`; whether there was one."""
    found = False
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark.encode() in (place / "environ").read_bytes():
                os.kill(int(place.name), signal.SIGKILL)
                found = True
    return found
