"""Completion, as bash asks for it and the program answers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runpod_comfy.cli.app import run_command_line
from tests.program import our_modules, write_program

# What bash does when a person presses the tabulator at the end of the line.
_ASK = """\
eval "$(runpod-comfy completion bash)"
COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9
_python_argcomplete runpod-comfy
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with two versions, and the program on the PATH."""
    (tmp_path / "project" / "versions").mkdir(parents=True)
    for name in ("portrait", "landscape"):
        (tmp_path / "project" / "versions" / f"{name}.json").write_text("{}")
    write_program(
        tmp_path / "bin" / "runpod-comfy",
        f'exec "{sys.executable}" -m runpod_comfy.cli.app "$@"\n',
    )
    return tmp_path / "project"


def _offered(project: Path, line: str, *, folder: Path | None = None) -> list[str]:
    variables = {
        "PATH": f"{project.parent / 'bin'}:{os.environ['PATH']}",
        "COMFY_CACHE_ROOT": str(project.parent / "cache"),
    }
    asked = subprocess.run(
        ["bash", "-c", _ASK, "bash", line],
        cwd=folder or project,
        env={**os.environ, **our_modules(), **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return [word.strip() for word in asked.stdout.splitlines() if word.strip()]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("runpod-comfy rea", ["realize"]),
        ("runpod-comfy image pu", ["push"]),
        ("runpod-comfy realize --dr", ["--dry-run"]),
        ("runpod-comfy realize ", ["landscape", "portrait"]),
        ("runpod-comfy image build --version p", ["portrait"]),
        ("runpod-comfy diff portrait l", ["landscape"]),
        ("runpod-comfy realize --no-such-option ", []),
    ],
)
def test_commands_options_and_versions_are_completed(
    project: Path, line: str, offered: list[str]
) -> None:
    assert _offered(project, line) == offered


@pytest.mark.parametrize("line", ["--project {} resolve p", "resolve --project {} p"])
def test_versions_are_those_of_the_project_that_is_named(
    project: Path, tmp_path: Path, line: str
) -> None:
    assert _offered(project, f"runpod-comfy {line.format(project)}", folder=tmp_path) == [
        "portrait"
    ]


@pytest.mark.parametrize(
    ("shell", "registers"),
    [("bash", "complete "), ("zsh", "compdef "), ("fish", "complete --command runpod-comfy")],
)
def test_each_shell_has_a_script(
    capsys: pytest.CaptureFixture[str], shell: str, registers: str
) -> None:
    assert run_command_line(["completion", shell]) == 0
    assert registers in capsys.readouterr().out
