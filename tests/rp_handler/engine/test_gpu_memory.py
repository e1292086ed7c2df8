from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rp_handler.engine.gpu_memory import PeakMemory
from rp_handler.engine.imports import hook_variables

# A program with the hook: it becomes ready when its torch is as the test has it.
_TORCH = """
import sys, types
from time import sleep

class Cuda:
    peak = 7
    def is_initialized(self): return {initialized}
    def device_count(self): return 2
    def max_memory_allocated(self, device): return self.peak + device
    def reset_peak_memory_stats(self, device): self.peak = 0

sys.modules["torch"] = types.SimpleNamespace(cuda=Cuda())
"""


def answers(program: str, folder: Path) -> list[int | None]:
    """What a program's hook answers to two questions."""

    async def ask(memory: PeakMemory) -> list[int | None]:
        return [await memory.ask(), await memory.ask()]

    memory = PeakMemory()
    report = folder / "report"
    report.touch()
    environment = {
        "PATH": os.defpath,
        **hook_variables({}, core=folder, report=report, memory=memory.theirs),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", f"{program}\nprint('ready', flush=True)\nsleep(60)"],
        env=environment,
        pass_fds=[memory.theirs],
        stdout=subprocess.PIPE,
    )
    memory.handed_over()
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return asyncio.run(ask(memory))
    finally:
        process.kill()
        process.communicate()
        memory.close()


def test_the_peak_is_the_largest_of_all_gpus_since_the_last_question(tmp_path: Path) -> None:
    assert answers(_TORCH.format(initialized=True), tmp_path) == [8, 1]


@pytest.mark.parametrize(
    "program",
    ["from time import sleep", _TORCH.format(initialized=False), _TORCH.format(initialized="1/0")],
)
def test_without_a_torch_that_uses_a_gpu_it_is_not_known(program: str, tmp_path: Path) -> None:
    assert answers(program, tmp_path) == [None, None]


def test_an_engine_that_does_not_answer_is_not_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rp_handler.engine.gpu_memory._PATIENCE_S", 0.05)
    memory = PeakMemory()
    assert asyncio.run(memory.ask()) is None
    with pytest.raises(OSError, match="closed|descriptor"):
        os.fstat(memory.theirs)
    assert asyncio.run(memory.ask()) is None


def test_a_late_answer_to_a_question_that_was_cancelled_is_not_taken_for_the_next() -> None:
    async def ask_twice() -> int | None:
        memory = PeakMemory()
        theirs = socket.socket(fileno=os.dup(memory.theirs))
        asking = asyncio.create_task(memory.ask())
        await asyncio.get_running_loop().run_in_executor(None, theirs.recv, 1)
        asking.cancel()
        await asyncio.wait({asking})
        with theirs, contextlib.suppress(BrokenPipeError):
            theirs.send(b"7")
        return await memory.ask()

    assert asyncio.run(ask_twice()) is None
