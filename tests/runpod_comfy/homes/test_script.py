from __future__ import annotations

import io
import os
import select
import signal
import subprocess
from pathlib import Path

import pytest

from comfy_errors import ComfyError, MismatchError, OperationFailedError, UnavailableError
from runpod_comfy.homes.script import run_script
from tests.program import next_line, start_python

_DEADLINE_S = 60


def _run(script: str, log: Path, **more: object) -> None:
    environment = {"PATH": os.environ["PATH"]}
    command = ["/bin/sh", "-c", script]
    run_script(command, title="the layer x", environment=environment, log=log, **more)  # type: ignore[arg-type]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "x.log"


def test_output_goes_to_the_log_and_to_the_terminal(log: Path) -> None:
    watched = io.BytesIO()
    _run("echo one; echo two >&2", log, show=watched)
    assert log.read_text().splitlines() == ["one", "two"]
    assert watched.getvalue() == log.read_bytes()


def test_a_failure_tells_the_step_the_end_of_its_output_and_what_to_do(log: Path) -> None:
    with pytest.raises(OperationFailedError) as caught:
        _run("i=0; while [ $i -lt 50 ]; do i=$((i+1)); echo line $i; done; exit 7", log)
    lines = caught.value.message.splitlines()
    assert lines[0] == "the layer x failed with exit code 7:"
    assert lines[-1].strip() == "line 50"
    assert len(lines) < 20
    assert str(log) in caught.value.remedy


def test_a_compiler_that_is_missing_is_named_with_its_package_and_a_base(log: Path) -> None:
    with pytest.raises(OperationFailedError) as caught:
        _run("echo \"error: command 'gcc' failed: No such file or directory\"; exit 1", log)
    assert "apt-get install build-essential" in caught.value.remedy
    assert '"options": {"system_packages": ["build-essential"]}' in caught.value.remedy
    assert "'cuda-devel'" in caught.value.remedy
    assert str(log) in caught.value.remedy


def test_a_failure_does_not_show_the_password_of_an_index(log: Path) -> None:
    with pytest.raises(UnavailableError, match=r"http://\*\*\*@index/simple") as caught:
        _run("echo 'error: Failed to fetch: `http://me:hush@index/simple`' >&2; exit 1", log)
    assert "hush" not in caught.value.message


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("echo 'error: Failed to fetch: https://…' >&2; exit 1", UnavailableError),
        ("echo 'because alpha was not found in the cache' >&2; exit 1", UnavailableError),
        ("echo 'Hash mismatch for `alpha==1`' >&2; exit 1", MismatchError),
        ("exit 3", UnavailableError),
        ("exit 2", OperationFailedError),
    ],
)
def test_what_was_out_of_reach_is_distinguished_from_what_failed(
    log: Path, script: str, error: type[ComfyError]
) -> None:
    with pytest.raises(error) as caught:
        _run(script, log)
    assert type(caught.value) is error


def test_colours_and_overwritten_progress_are_not_shown(log: Path) -> None:
    with pytest.raises(OperationFailedError) as caught:
        _run(r"printf '10%%\r100%%\n\033[31mbroken\033[0m\n'; exit 1", log)
    assert caught.value.message.splitlines()[1:] == ["  100%", "  broken"]


def test_on_a_terminal_the_script_has_one_too(log: Path) -> None:
    """As uv sees it: it draws its progress only on a terminal."""
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "wb", buffering=0) as terminal:
        _run("if [ -t 2 ]; then echo drawn; else echo quiet; fi", log, show=terminal)
        assert log.read_text().split() == ["drawn"]
    os.close(ours)
    _run("if [ -t 2 ]; then echo drawn; else echo quiet; fi", log)
    assert log.read_text().split() == ["quiet"]


def test_a_script_cannot_wait_for_an_answer(log: Path) -> None:
    _run("read -r answer || echo nobody", log)
    assert log.read_text() == "nobody\n"


def test_a_script_without_any_program_on_its_path_is_not_killed(log: Path) -> None:
    script = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo done"
    run_script(
        ["/bin/sh", "-c", script],
        title="the layer x",
        environment={"PATH": str(log.parent)},
        log=log,
    )
    assert log.read_text() == "done\n"


def _start_one_that_waits(tmp_path: Path, started: str) -> tuple[int, subprocess.Popen[str]]:
    """A program that runs a script which has begun, and the reading end of a pipe that only the
    script and what it started hold."""
    program = (
        "import sys; from pathlib import Path; from runpod_comfy.homes.script import run_script\n"
        "run_script(['/bin/sh', '-c', sys.argv[3] + ' echo begun; wait'], title='x',\n"
        "           environment={'PATH': '/usr/bin:/bin'}, log=Path(sys.argv[1]),\n"
        "           show=sys.stdout.buffer, keep_open=[int(sys.argv[2])])\n"
    )
    # Whoever was started holds the writing end: its end is the end of all of them.
    reader, writer = os.pipe()
    process = start_python(
        "-c",
        program,
        tmp_path / "x.log",
        writer,
        started,
        stderr=subprocess.PIPE,
        pass_fds=[writer],
    )
    os.close(writer)
    assert next_line(process) == "begun"
    return reader, process


@pytest.mark.parametrize("started", ["sleep 1000 &", "(trap '' TERM INT; sleep 1000) &"])
def test_an_interrupt_ends_the_script_and_what_it_started(tmp_path: Path, started: str) -> None:
    reader, process = _start_one_that_waits(tmp_path, started)
    process.send_signal(signal.SIGINT)
    process.communicate()
    ended, _, _ = select.select([reader], [], [], _DEADLINE_S)
    assert ended
    assert os.read(reader, 1) == b""
    os.close(reader)


@pytest.mark.parametrize("started", ["sleep 1000 &", "(trap '' TERM INT HUP; sleep 1000) &"])
def test_a_kill_of_this_program_ends_the_script_and_what_it_started(
    tmp_path: Path, started: str
) -> None:
    reader, process = _start_one_that_waits(tmp_path, started)
    process.kill()
    process.communicate()
    ended, _, _ = select.select([reader], [], [], _DEADLINE_S)
    assert ended
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_what_a_script_leaves_behind_is_ended_with_it(log: Path) -> None:
    reader, writer = os.pipe()
    _run("sleep 1000 >/dev/null 2>&1 & echo done", log, keep_open=[writer])
    os.close(writer)
    ended, _, _ = select.select([reader], [], [], _DEADLINE_S)
    assert ended
    os.close(reader)
