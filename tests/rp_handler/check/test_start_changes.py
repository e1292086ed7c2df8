from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfy_files.read_only import make_read_only
from comfy_home.layout import DAMAGE_NAME, HomeLayout
from comfy_home.manifest import CheckReport, load_manifest, save_manifest
from rp_handler.check.start_changes import StartWatch
from tests.ordinary_user import as_ordinary_user, can_unshare, users_folder
from tests.rp_handler.check.test_run import add_node, run_check

place = pytest.fixture(users_folder)

_BESIDE_ITSELF = """
import pathlib, shutil
here = pathlib.Path(__file__).parent
(here / "config.json").write_text("{}")
(here / "counted.txt").write_text("1")
(here / "gone.txt").unlink()
(here / "helper.py").write_text("VALUE = 2")
(here.parent / "second").mkdir()
(here.parent / "second/__init__.py").write_text("NODE_CLASS_MAPPINGS = {}")
(here.parents[1] / "models/face").mkdir()
(here.parents[1] / "models/face/weights.bin").write_text("weights")
NODE_CLASS_MAPPINGS = {}
"""


def _patching(home: Path) -> tuple[Path, str]:
    package = home / ".venv/lib/package.py"
    package.parent.mkdir(parents=True)
    package.write_text("whole")
    return package, (
        f"import pathlib\npathlib.Path({str(package)!r}).write_text('patched')\n"
        f"pathlib.Path({str(package.parent)!r}, 'new.py').write_text('new')\n"
        "NODE_CLASS_MAPPINGS = {}\n"
    )


def _report(path: Path) -> CheckReport:
    return CheckReport.model_validate_json(path.read_bytes())


def test_files_that_a_node_writes_are_in_the_report(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_node(home, "mine", _BESIDE_ITSELF)
    mine = home / "ComfyUI/custom_nodes/mine"
    for name in ("counted.txt", "gone.txt", "helper.py"):
        (mine / name).write_text("0")
    (mine / "__pycache__").mkdir()
    bytecode = mine / "__pycache__/helper.cpython-311.pyc"
    bytecode.touch()
    report = tmp_path / "report.json"
    assert run_check(home, report) == 0
    nodes = "ComfyUI/custom_nodes"
    assert [(file.path, file.change, bool(file.sha256)) for file in _report(report).changed] == [
        (f"{nodes}/mine/config.json", "added", True),
        (f"{nodes}/mine/counted.txt", "changed", True),
        (f"{nodes}/mine/gone.txt", "removed", False),
        (f"{nodes}/mine/helper.py", "changed", True),
        (f"{nodes}/second/__init__.py", "added", True),
    ]
    assert not bytecode.exists()
    assert "Note: Starting ComfyUI changes 5 files of the home" in capsys.readouterr().err


def test_a_node_may_write_to_an_environment_that_is_writable(home: Path, tmp_path: Path) -> None:
    manifest = load_manifest(home)
    assert manifest is not None
    save_manifest(home, manifest.model_copy(update={"writable_environment": True}))
    package, node = _patching(home)
    add_node(home, "patcher", node)
    report = tmp_path / "report.json"
    assert run_check(home, report) == 0
    assert package.read_text() == "patched"
    assert [file.path for file in _report(report).changed] == [
        ".venv/lib/new.py",
        ".venv/lib/package.py",
    ]


def test_a_change_of_the_environment_that_could_not_be_prevented_is_a_failure(
    home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rp_handler.check.run.read_only_folders", lambda *_, **__: [])
    _, node = _patching(home)
    add_node(home, "patcher", node)
    report = tmp_path / "report.json"
    assert run_check(home, report) == 1
    told = capsys.readouterr().err
    assert "a node changed the Python environment" in told
    assert "lib/new.py, lib/package.py" in told
    assert '"options": {"writable_environment": true}' in told
    assert json.loads((tmp_path / DAMAGE_NAME).read_text()) == ["lib/new.py", "lib/package.py"]


@pytest.mark.parametrize(
    "attempt",
    [
        "pathlib.Path({package!r}).write_text('patched')",
        "new = pathlib.Path({package!r} + '.new'); new.write_text(''); new.replace({package!r})",
        pytest.param(
            "os.chmod({package!r}, 0o644)",
            marks=pytest.mark.skipif(
                not can_unshare("--user", "--mount"), reason="an owner may, without a namespace"
            ),
        ),
        "subprocess.run([sys.executable, '-m', 'pip', 'install', 'no-such-thing'], check=True)",
    ],
)
def test_a_node_that_may_not_change_the_environment_is_named_with_its_line(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], attempt: str
) -> None:
    package, _ = _patching(home)
    make_read_only(home / ".venv")
    text = attempt.format(package=str(package))
    add_node(home, "patcher", f"import os, pathlib, subprocess, sys\n{text}\n")
    assert run_check(home, tmp_path / "report.json") == 1
    told = capsys.readouterr().err
    assert (
        "the custom node patcher may not change the Python environment: "
        "custom_nodes/patcher/__init__.py, line 2: "
    ) in told
    assert '"options": {"writable_environment": true}' in told
    assert "options.requirements" in told
    assert package.read_text() == "whole"


def test_what_changed_in_a_read_only_environment_is_found_as_an_ordinary_user(place: Path) -> None:
    package = place / ".venv/lib/package"
    (package / "__pycache__").mkdir(parents=True)
    (place / "ComfyUI").mkdir()
    (package / "__init__.py").write_text("whole")
    (package / "__pycache__/__init__.cpython-311.pyc").touch()
    make_read_only(place / ".venv")

    def patch() -> None:
        watch = StartWatch(HomeLayout(root=place))
        (package / "__init__.py").chmod(0o644)
        (package / "__init__.py").write_text("patched")
        assert [file.path for file in watch.changes()] == [".venv/lib/package/__init__.py"]

    as_ordinary_user(patch, place)
