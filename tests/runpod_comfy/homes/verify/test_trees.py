"""The check of bytecode, interrupted: none of its processes stays behind."""

from __future__ import annotations

import os
import py_compile
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.program import next_line, start_python

_PROGRAM = """
import sys
from pathlib import Path
from runpod_comfy.homes.verify.trees import wrong_bytecode
print("begins", flush=True)
wrong_bytecode(Path(sys.executable), [Path(sys.argv[1])])
"""
_SOURCE = "def f(x):\n    return [x + 1, {'a': x}]\n\n\n" * 4000


@pytest.fixture
def compiled(tmp_path: Path) -> Path:
    """Sources with bytecode, which take minutes to compare."""
    folder = tmp_path / "compiled"
    folder.mkdir()
    first = folder / "m0.py"
    first.write_text(_SOURCE)
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    bytecode = Path(str(py_compile.compile(str(first), invalidation_mode=mode)))
    for number in range(1, 1000):
        os.link(first, folder / f"m{number}.py")
        os.link(bytecode, bytecode.with_name(bytecode.name.replace("m0.", f"m{number}.")))
    return folder


def _below(process: int) -> list[int]:
    """The processes that a process has started, and those that these have."""
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
    )
    pairs = [line.split() for line in listed.stdout.splitlines()]
    direct = [int(child) for child, parent in pairs if int(parent) == process]
    return [*direct, *(below for child in direct for below in _below(child))]


def _runs(process: int) -> bool:
    stat = ["ps", "-o", "stat=", "-p", str(process)]
    told = subprocess.run(stat, capture_output=True, text=True, check=False).stdout.strip()
    return bool(told) and not told.startswith("Z")


def test_an_interrupted_check_of_bytecode_leaves_no_process(compiled: Path) -> None:
    process = start_python("-c", _PROGRAM, compiled, stderr=subprocess.DEVNULL)
    assert next_line(process) == "begins"
    # The check itself, and at least one worker.
    while len(started := _below(process.pid)) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) != 0
    process.communicate()
    assert [each for each in started if _runs(each)] == []
