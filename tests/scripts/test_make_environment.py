"""The project's environment: made once, made again when the lock changes, never half."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import zipfile
from pathlib import Path

import pytest
from uv import find_uv_bin

from tests.package_index import make_wheel
from tests.program import wait_for, write_program
from tests.scripts.conftest import Project

# Each test makes an environment or a home, or starts a worker.
pytestmark = pytest.mark.slow

# As on a machine that has Python and pip, and no uv.
_WITHOUT_UV = "/usr/bin:/bin"


def _make(project: Project, *options: str) -> tuple[int, str]:
    code, out, err = project.run("sh", project.script("with_environment.sh"), *options)
    assert out == ""
    return code, err


def _version(project: Project) -> str:
    return project.run(project.root / ".venv" / "bin" / "runpod-comfy")[1].strip()


def test_the_program_runs_on_the_locked_packages_and_our_sources(project: Project) -> None:
    code, err = _make(project)
    assert code == 0
    assert "making .venv" in err
    assert _version(project) == "1.0"
    assert _make(project) == (0, "")


def test_tools_for_tests_come_only_where_they_are_asked_for(project: Project) -> None:
    make_wheel(project.wheels, "tool", "1.0")
    project.lock("1.0")
    python = project.root / ".venv" / "bin" / "python"
    assert _make(project)[0] == 0
    assert project.run(python, "-c", "import tool")[0] == 1
    code, err = _make(project, "--dev")
    assert code == 0
    assert "adding the tools" in err
    assert project.run(python, "-c", "import tool, alpha")[0] == 0
    assert _make(project) == _make(project, "--dev") == (0, "")


def test_an_environment_of_another_list_is_made_again(project: Project) -> None:
    project.pretend_made(from_list=project.runtime())
    project.lock("2.0")
    assert _make(project)[0] == 0
    assert _version(project) == "2.0"


def test_a_killed_run_is_taken_up_by_the_next_one(project: Project) -> None:
    killed = project.start(sys.executable, project.script("make_environment.py"))
    assert killed.stderr is not None
    assert "making .venv" in killed.stderr.readline()
    killed.kill()
    killed.communicate()
    assert _make(project)[0] == 0
    assert _version(project) == "1.0"


def test_two_at_once_make_it_once(project: Project) -> None:
    command = ("sh", project.script("with_environment.sh"))
    both = [project.start(*command), project.start(*command)]
    spoken = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("making .venv with" in text for text in spoken) == 1
    assert _version(project) == "1.0"


def test_a_wheel_with_another_hash_is_refused_in_plain_words(project: Project) -> None:
    (wheel,) = project.wheels.glob("*.whl")
    wheel.write_bytes(wheel.read_bytes() + b"\0")
    code, err = _make(project)
    assert code == 3
    assert "could not be installed" in err
    assert "Traceback" not in err
    assert not (project.root / ".venv" / "runtime.txt").exists()


def test_without_uv_the_locked_one_is_installed_by_its_hash(project: Project) -> None:
    wheel = _uv_wheel(project.wheels)
    project.lock("1.0")
    code, _, err = project.run("sh", project.script("with_environment.sh"), PATH=_WITHOUT_UV)
    assert code == 0, err
    assert _version(project) == "1.0"
    shutil.rmtree(project.root / ".venv")
    wheel.write_bytes(wheel.read_bytes() + b"\0")
    code, _, err = project.run("sh", project.script("with_environment.sh"), PATH=_WITHOUT_UV)
    assert code == 3
    assert "uv could not be installed, as pip says above" in err
    assert "Traceback" not in err


def test_a_uv_that_does_not_run_is_replaced_by_the_locked_one(
    project: Project, tmp_path: Path
) -> None:
    _uv_wheel(project.wheels)
    project.lock("1.0")
    write_program(tmp_path / "broken" / "uv", "exit 1\n")
    path = f"{tmp_path / 'broken'}:{_WITHOUT_UV}"
    code, _, err = project.run("sh", project.script("with_environment.sh"), PATH=path)
    assert code == 0, err
    assert _version(project) == "1.0"


def test_a_tool_that_left_the_list_leaves_the_environment(project: Project) -> None:
    tool = make_wheel(project.wheels, "tool", "1.0")
    project.lock("1.0")
    assert _make(project, "--dev")[0] == 0
    tool.unlink()
    project.lock("1.0")
    assert _make(project, "--dev")[0] == 0
    python = project.root / ".venv" / "bin" / "python"
    assert project.run(python, "-c", "import tool")[0] == 1
    assert _version(project) == "1.0"


def test_a_broken_configuration_of_pip_is_named(project: Project, tmp_path: Path) -> None:
    broken = tmp_path / "pip.conf"
    broken.write_text("index-url = nowhere\n")
    command = ("sh", project.script("with_environment.sh"))
    code, _, err = project.run(*command, PIP_CONFIG_FILE=str(broken))
    assert code == 3
    assert str(broken) in err
    assert "Traceback" not in err


def _uv_wheel(folder: Path) -> Path:
    """A wheel of uv whose program is the real one."""
    wheel = make_wheel(folder, "uv", "1.0")
    with zipfile.ZipFile(wheel, "a") as archive:
        member = zipfile.ZipInfo("uv-1.0.data/scripts/uv")
        member.external_attr = 0o100755 << 16
        archive.writestr(member, f"#!/bin/sh\nexec '{find_uv_bin()}' \"$@\"\n")
    return wheel


@pytest.mark.parametrize("script", ["exit 1", "echo this is no Python"])
def test_a_python_that_is_named_and_will_not_do_is_refused(
    project: Project, tmp_path: Path, script: str
) -> None:
    named = write_program(tmp_path / "python", f"{script}\n")
    for python in (str(named), "/no/such/python"):
        code, out, err = project.run(
            "sh", project.script("with_environment.sh"), "runpod-comfy", PYTHON=python
        )
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        assert python in err
    assert not (project.root / ".venv").exists()


def test_a_clone_that_cannot_be_written_is_reported_with_what_to_do(project: Project) -> None:
    root, script = project.root, project.script("with_environment.sh")
    command: list[str | Path] = ["sh", script, "runpod-comfy", "--help"]
    if os.getuid() == 0:
        # Modes do not bind root; a mount of its own does.
        read_only = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", read_only, root, *command]
    else:
        root.chmod(0o555)
    try:
        code, out, err = project.run(*command)
    finally:
        root.chmod(0o755)
    assert (code, out) == (3, "")
    assert str(root / ".venv") in err
    assert "copy" in err
    assert "Traceback" not in err
    assert err.count("\n") == 1


def test_ctrl_c_ends_it_quietly_and_the_next_run_makes_it_again(
    project: Project, tmp_path: Path
) -> None:
    # A uv that installs for ever.
    slow = write_program(tmp_path / "bin" / "uv", "echo installing >&2\nexec sleep 60\n").parent
    path = f"{slow}{os.pathsep}{os.environ['PATH']}"
    process = project.start("sh", project.script("with_environment.sh"), "runpod-comfy", PATH=path)
    assert process.stderr is not None
    wait_for(process.stderr, "installing")
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    # A shell that is interrupted too ends by the signal, which shells report as 130.
    assert process.returncode in (130, -signal.SIGINT)
    assert said == ""
    assert not (project.root / ".venv" / "runtime.txt").exists()
    assert _make(project)[0] == 0
    assert _version(project) == "1.0"


def test_without_a_new_enough_python_one_sentence_says_so(project: Project, tmp_path: Path) -> None:
    old = tmp_path / "old"
    for name in ("python3", "python3.11", "python3.12", "python3.13", "python3.14"):
        write_program(old / name, "exit 1\n")
    for name in ("dirname", "cmp"):
        (old / name).symlink_to(Path("/usr/bin") / name)
    code, out, err = project.run(
        "/bin/sh", project.script("with_environment.sh"), "x", PATH=str(old), PYTHON=""
    )
    assert (code, out) == (3, "")
    assert len(err.splitlines()) == 1
    assert "3.11" in err
