from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from comfy_files.files import lock
from comfy_home.running import holders_of, running_script
from tests.program import next_line, start_python

pytestmark = pytest.mark.skipif(not Path("/proc/self/fdinfo").is_dir(), reason="needs /proc")

_HOLD = """
import fcntl, subprocess, sys
with open(sys.argv[1], "ab") as stream:
    fcntl.flock(stream, fcntl.LOCK_SH)
    child = subprocess.Popen(["sleep", "600"], pass_fds=[stream.fileno()])
    print(child.pid, flush=True)
    sys.stdin.readline()
"""


def test_the_process_that_took_a_lock_is_found_and_its_heir_after_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a file"
    process = start_python("-c", _HOLD, path, "a secret" * 20, stdin=subprocess.PIPE)
    child = int(next_line(process))
    with path.open("rb") as mine:
        # This process has the file open and does not hold the lock; the other does.
        (holder,) = holders_of(path)
        assert holder.pid == process.pid
        assert holder.parent == os.getpid()
        assert str(holder).startswith(f"process {process.pid} (")
        assert len(holder.command) <= 100
        process.kill()
        process.wait()
        assert [(each.pid, each.command) for each in holders_of(path)] == [(child, "sleep 600")]
        os.kill(child, 9)
        lock(mine.fileno())
        assert holders_of(path) == []
    process.communicate()


def test_a_file_that_is_not_there_has_no_holders(tmp_path: Path) -> None:
    assert holders_of(tmp_path / "none") == []


@pytest.mark.parametrize("is_relative", [True, False])
def test_a_python_that_runs_a_script_is_found(tmp_path: Path, is_relative: bool) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    script = tmp_path / "main.py"
    script.write_text("print('begun', flush=True)\ninput()\n")
    named = "main.py" if is_relative else tmp_path / "link/main.py"
    process = start_python(named, "--listen", stdin=subprocess.PIPE, cwd=tmp_path)
    assert next_line(process) == "begun"
    (found,) = running_script(script)
    assert found.pid == process.pid
    assert found.command.endswith("main.py --listen")
    assert running_script(tmp_path / "elsewhere/main.py") == []
    process.communicate("\n")


def test_an_editor_of_the_script_does_not_run_it(tmp_path: Path) -> None:
    script = tmp_path / "main.py"
    script.write_text("")
    with subprocess.Popen(["tail", "-f", script], stdout=subprocess.DEVNULL) as editor:
        try:
            assert running_script(script) == []
        finally:
            editor.kill()


def test_a_program_is_named_without_its_interpreter_and_folders(tmp_path: Path) -> None:
    program = tmp_path / "runpod-comfy"
    program.write_text(f"#!{sys.executable}\nprint('begun', flush=True)\ninput()\n")
    program.chmod(0o755)
    command = [str(program), "run", "demo"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert [each.command for each in running_script(program)] == ["runpod-comfy run demo"]
        process.communicate(b"\n")
