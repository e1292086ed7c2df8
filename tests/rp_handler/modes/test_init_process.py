from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.program import next_line, start_python

_PROGRAM = """\
import ctypes, os, signal, subprocess, sys, time
from rp_handler.modes.init_process import run_as_init

def program():
{body}

if len(sys.argv) > 1:
    # Like the first process of a container, it gets orphans.
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
sys.exit(run_as_init(program))
"""


def start(body: str, *arguments: str) -> subprocess.Popen[str]:
    indented = "\n".join("    " + line for line in body.splitlines())
    return start_python("-c", _PROGRAM.format(body=indented), *arguments, start_new_session=True)


@pytest.mark.parametrize(
    ("body", "code"),
    [("return 0", 0), ("return 3", 3), ("os.kill(os.getpid(), signal.SIGKILL)", 137)],
)
def test_the_code_of_the_program_is_the_code_of_the_container(body: str, code: int) -> None:
    assert start(body).wait(timeout=30) == code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_reaches_the_program_once(number: signal.Signals) -> None:
    body = f"""\
heard = []
signal.signal({number.value}, lambda *_: heard.append(1))
print("ready", flush=True)
while not heard:
    time.sleep(0.01)
time.sleep(0.2)
return len(heard)"""
    process = start(body)
    assert next_line(process) == "ready"
    # As a terminal does, to the whole group.
    os.killpg(process.pid, number)
    assert process.wait(timeout=30) == 1


def test_before_the_program_listens_a_signal_ends_it() -> None:
    process = start('print("ready", flush=True)\ntime.sleep(60)')
    assert next_line(process) == "ready"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 128 + signal.SIGTERM


@pytest.mark.parametrize("is_asked_again", [False, True])
def test_a_program_that_does_not_end_is_killed_within_five_seconds(is_asked_again: bool) -> None:
    body = """\
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)"""

    def seconds() -> float:
        process = start(body)
        assert next_line(process) == "ready"
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        if is_asked_again:
            time.sleep(2)
            process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 128 + signal.SIGKILL
        return time.monotonic() - began

    # A busy machine may be late once; what takes longer by itself does so each time.
    assert any(seconds() < 5 for _ in range(3))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives orphans to a chosen process")
def test_orphans_do_not_stay_as_zombies() -> None:
    body = """\
parent = subprocess.Popen(["sh", "-c", "sleep 0.1 & echo $!"], stdout=subprocess.PIPE, text=True)
orphan = int(parent.communicate()[0])
for _ in range(2500):
    if not os.path.exists(f"/proc/{orphan}"):
        return 0
    time.sleep(0.01)
return 1"""
    assert start(body, "subreaper").wait(timeout=30) == 0
