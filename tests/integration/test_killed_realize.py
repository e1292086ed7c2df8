"""Killed outright at any moment, a realization comes out as if nothing had happened."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.small_versions import (
    SCRIPTED,
    SmallVersions,
    contents,
    kept,
)

VERSION = "three"
_LINUX = sys.platform == "linux"


@dataclass(frozen=True, kw_only=True)
class Undisturbed:
    """A realization from an empty cache to its end: what it left, and how long it took."""

    home: dict[str, object]
    cache: dict[str, dict[str, object]]
    seconds: float


def _undisturbed(small: SmallVersions, version: str) -> Undisturbed:
    # The second time everything outside the cache is warm.
    for _ in range(2):
        small.forget()
        started = time.monotonic()
        done = small.realize(version)
        seconds = time.monotonic() - started
        assert done.code == 0, done.err
    return Undisturbed(home=contents(small.home(version)), cache=kept(small.cache), seconds=seconds)


@pytest.mark.parametrize(("version", "moments", "first"), [(VERSION, 50, 0.0), (SCRIPTED, 10, 0.4)])
def test_killed_at_random_moments(
    small: SmallVersions, version: str, moments: int, first: float
) -> None:
    """`first` is the part of the whole time after which the kills begin."""
    expected = _undisturbed(small, version)
    seed = int(os.environ.get("KILL_SEED") or random.randrange(2**32))
    sys.stdout.write(f"KILL_SEED={seed}\n")
    chance = random.Random(seed)
    for number in range(moments):
        part = first + (1 - first) * (number + chance.random()) / moments
        everything = _LINUX and number % 2 == 0
        said = f"KILL_SEED={seed}, moment {number}, at {part:.3f}, everything: {everything}"
        small.forget()
        _kill(small, version, expected.seconds * part, everything=everything)
        if everything:
            for name, held in kept(small.cache).items():
                assert held == expected.cache[name], f"{said}: {name} is not whole"
        done = small.realize(version)
        assert done.code == 0, f"{said}: {done.err}"
        assert contents(small.home(version)) == expected.home, said
        assert kept(small.cache) == expected.cache, said


def test_killed_again_and_again_it_still_comes_out_the_same(small: SmallVersions) -> None:
    expected = _undisturbed(small, VERSION)
    small.forget()
    for number in range(10):
        everything = _LINUX and number % 2 == 0
        _kill(small, VERSION, expected.seconds * number / 10, everything=everything)
    done = small.realize(VERSION)
    assert done.code == 0, done.err
    assert contents(small.home(VERSION)) == expected.home
    assert kept(small.cache) == expected.cache


def _kill(small: SmallVersions, version: str, delay_s: float, *, everything: bool) -> None:
    """Starts a realization and kills it after a while: the program alone, or all that it started,
    as when a machine goes down."""
    mark = f"killed-{time.monotonic_ns()}"
    process = small.program(COMFY_TEST_MARK=mark).start(
        "realize", version, "--target", small.home(version)
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
