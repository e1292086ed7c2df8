from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from comfy_home.in_use import home_alone
from comfy_home.layout import LOCK_NAME, OBJECT_INFO_NAME
from comfy_home.manifest import CheckReport
from rp_handler.check.run import main
from tests.program import our_modules


def run_check(home: Path, report: Path) -> int:
    python = home / ".venv/bin/python"
    return main(["--home", str(home), "--python", str(python), "--report", str(report)])


def add_node(home: Path, name: str, text: str) -> None:
    folder = home / "ComfyUI/custom_nodes" / name
    folder.mkdir()
    (folder / "__init__.py").write_text(text, encoding="utf-8")


def test_the_report_tells_what_one_start_taught(home: Path, tmp_path: Path) -> None:
    add_node(
        home,
        "mine",
        "import fixture_nodes\nNODE_CLASS_MAPPINGS = {'Mine': fixture_nodes.FixtureText}\n",
    )
    (home / "models/upscale_models/x2.pth").touch()
    report = tmp_path / "report.json"
    assert run_check(home, report) == 0
    told = CheckReport.model_validate_json(report.read_text(encoding="utf-8"))
    assert told.comfyui_version == "0.0.1"
    assert told.node_classes == {"mine": ["Mine"]}
    assert told.folder_names == {
        "checkpoints": ["checkpoints"],
        "text_encoders": ["text_encoders", "clip"],
        "upscale_models": ["upscale_models"],
    }
    assert told.model_inputs == {"FixtureLoader": {"model_name": ["upscale_models"]}}
    assert "--temp-directory" in told.flags
    object_info = json.loads((home / OBJECT_INFO_NAME).read_text(encoding="utf-8"))
    assert object_info["Mine"]["python_module"] == "custom_nodes.mine"
    # What lies in the models folder today is not a fact about the version.
    assert object_info["FixtureLoader"]["input"]["required"]["model_name"][0] == ["built in"]


def test_a_package_that_does_not_import_is_named_with_its_exception(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_node(home, "broken", "import no_such_module\n")
    add_node(home, "hollow", "x = 1\n")
    report = tmp_path / "report.json"
    assert run_check(home, report) == 1
    told = capsys.readouterr().err
    assert "the custom node broken failed to import: ModuleNotFoundError: No module" in told
    assert "the custom node hollow failed to import: " in told
    assert "Traceback" not in told
    assert not report.exists()
    assert not (home / OBJECT_INFO_NAME).exists()


def test_a_node_that_breaks_the_answer_about_nodes_is_an_error(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_node(
        home,
        "untellable",
        "import fixture_nodes\n"
        "class Untellable(fixture_nodes.FixtureText):\n"
        "    required = {'content': object()}\n"
        "NODE_CLASS_MAPPINGS = {'Untellable': Untellable}\n",
    )
    report = tmp_path / "report.json"
    assert run_check(home, report) == 1
    assert "does not list its node classes" in capsys.readouterr().err
    assert not report.exists()


def test_a_core_that_does_not_start_is_quoted(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FIXTURE_DIE_AT_START", "no such library")
    assert run_check(home, tmp_path / "report.json") == 3
    assert "no such library" in capsys.readouterr().err


def test_a_core_that_cannot_even_tell_its_options_is_quoted(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "ComfyUI/main.py").write_text("import no_such_module\n", encoding="utf-8")
    assert run_check(home, tmp_path / "report.json") == 3
    assert "No module named 'no_such_module'" in capsys.readouterr().err


def test_a_check_leaves_nothing_but_its_results(home: Path, tmp_path: Path) -> None:
    def files() -> set[Path]:
        return {path for path in home.rglob("*") if "__pycache__" not in path.parts}

    before = files()
    assert run_check(home, tmp_path / "report.json") == 0
    assert files() - before == {home / OBJECT_INFO_NAME}
    assert list(Path(tempfile.gettempdir()).iterdir()) == []


def test_the_engine_of_a_check_holds_the_lock_of_the_command_that_checks(
    home: Path, tmp_path: Path
) -> None:
    """A node asks whether its engine has it."""
    add_node(
        home,
        "asks",
        "import os, sys\n"
        "held = os.environ['THE_LOCK']\n"
        "links = [os.path.realpath(f'/dev/fd/{name}') for name in os.listdir('/dev/fd')]\n"
        "assert held in links, links\n"
        "NODE_CLASS_MAPPINGS = {}\n",
    )
    report = tmp_path / "report.json"
    with home_alone(home, pytest.fail) as descriptor:
        checked = subprocess.run(
            [
                *(sys.executable, "-m", "rp_handler.check.run", "--home", str(home)),
                *("--python", str(home / ".venv/bin/python"), "--report", str(report)),
            ],
            env={**os.environ, **our_modules(), "THE_LOCK": str(home / LOCK_NAME)},
            pass_fds=[descriptor],
            capture_output=True,
            text=True,
            check=False,
        )
    assert checked.returncode == 0, checked.stderr
