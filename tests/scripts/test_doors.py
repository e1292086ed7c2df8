"""The guide's scripts hand everything on to `runpod-comfy`."""

from __future__ import annotations

import sys

import pytest

from tests.scripts.conftest import Project

_HOSTILE = ["--flag", "two words", "*", "$HOME", ""]

_DOORS = {
    "version.py": [],
    "realize_version.py": ["realize"],
    "verify_models.py": ["verify-models"],
    "remove_version.sh": ["remove"],
    "build_docker.sh": ["image", "build"],
    "init_comfyui.sh": ["init"],
    "run_handler_local.sh": ["run"],
    "repro_workflow_hash.py": ["repro"],
}


@pytest.mark.parametrize("door", _DOORS)
def test_arguments_and_exit_code_pass_through(project: Project, door: str) -> None:
    project.pretend_made(from_list=project.runtime())
    program = sys.executable if door.endswith(".py") else "sh"
    code, out, err = project.run(program, project.script(door), *_HOSTILE)
    assert (code, err) == (7, "")
    assert out.split("\n") == [*_DOORS[door], *_HOSTILE, ""]


@pytest.mark.parametrize("door", _DOORS)
def test_each_can_be_started_by_its_own_name(project: Project, door: str) -> None:
    project.pretend_made(from_list=project.runtime())
    assert project.run(project.script(door))[0] == 7
