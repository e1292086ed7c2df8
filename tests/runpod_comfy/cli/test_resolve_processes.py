"""Several `resolve` at once, and one that is killed: real processes on one cache."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from runpod_comfy.lock.store import load_lock
from tests.program import start_python
from tests.runpod_comfy.cli.moving_world import World

# Resolves a version many times.
pytestmark = pytest.mark.slow

_MOMENTS = 8
# For a busy machine; less than a silent server is given.
_PATIENCE_S = 90


def _start(*arguments: str) -> subprocess.Popen[str]:
    return start_python(
        "-m",
        "runpod_comfy.cli.app",
        "resolve",
        "small",
        *arguments,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def _told(process: subprocess.Popen[str]) -> str:
    return process.communicate(timeout=_PATIENCE_S)[1]


def test_several_at_once_on_an_empty_cache_all_make_the_same_lock(bare_world: World) -> None:
    running = [_start() for _ in range(4)]
    told = [_told(process) for process in running]
    assert [process.returncode for process in running] == [0] * 4, told
    before = bare_world.lock_path.read_bytes()
    again = _start()
    _told(again)
    assert (again.returncode, bare_world.lock_path.read_bytes()) == (0, before)


def test_killed_at_any_moment_it_leaves_the_old_lock_or_the_new_one(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = world.lock_path.read_bytes()
    spec = world.spec.read_bytes()
    world.core.write("new.py", "")
    world.core.commit("Newer")
    world.release("alpha", "2.0")
    began = time.monotonic()
    whole = _start("--upgrade")
    _told(whole)
    seconds = time.monotonic() - began
    new = world.lock_path.read_bytes()
    moved_spec = world.spec.read_bytes()
    assert new != old
    assert moved_spec != spec
    for moment in range(_MOMENTS):
        world.spec.write_bytes(spec)
        world.lock_path.write_bytes(old)
        monkeypatch.setenv("COMFY_CACHE_ROOT", str(tmp_path / f"cache-{moment}"))
        process = _start("--upgrade")
        time.sleep(seconds * (moment + 0.5) / _MOMENTS)
        os.killpg(process.pid, signal.SIGKILL)
        _told(process)
        assert world.lock_path.read_bytes() in (old, new)
        assert world.spec.read_bytes() in (spec, moved_spec)
        load_lock(world.lock_path)
    again = _start("--upgrade")
    assert not _told(again) or again.returncode == 0
    assert world.lock_path.read_bytes() == new
    assert world.spec.read_bytes() == moved_spec


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_ends_soon_with_130_and_leaves_spec_and_lock(
    world: World, number: signal.Signals
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"git://127.0.0.1:{silent.getsockname()[1]}/painter"
        world.spec.write_text(world.spec.read_text().replace(world.painter.url, url))
        before = world.spec.read_bytes(), world.lock_path.read_bytes()
        process = _start("--upgrade")
        silent.settimeout(_PATIENCE_S)
        connection, _ = silent.accept()
        process.send_signal(number)
        told = _told(process)
        connection.close()
    assert (process.returncode, told.splitlines()[-2]) == (130, "interrupted")
    assert (world.spec.read_bytes(), world.lock_path.read_bytes()) == before
