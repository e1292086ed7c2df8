"""The short way of a realize that has nothing to do: taken when nothing changed, and only then."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from comfy_home.layout import UNCHANGED_NAME
from runpod_comfy import project as program
from runpod_comfy.api.workspace import find_project
from runpod_comfy.cache import tree_files
from runpod_comfy.cli import unchanged
from runpod_comfy.cli.app import run_command_line
from runpod_comfy.homes import run
from runpod_comfy.homes.home import Realization
from runpod_comfy.project import LAYER_SCRIPTS, PACKAGES
from runpod_comfy.spec.load import load_spec, spec_digest
from tests.runpod_comfy.homes.conftest import Version, version

__all__ = ["version"]


class Project:
    """A folder with a spec, its lock and what they name, and the home that is made of them."""

    def __init__(self, version: Version) -> None:
        self.version = version
        self.folder = version.folder
        self.home = version.folder / "home"
        self.spec = self.folder / "versions" / "small.json"
        self.lock = self.folder / "lockfiles" / "comfy-small.lock.json"
        version.models = [version.model("a.bin", "weights")]
        self.write_spec({})
        self.write_lock()

    def write_spec(self, env: dict[str, str]) -> None:
        self.spec.parent.mkdir(exist_ok=True)
        for name in ("core", "painter", "a.bin"):
            place = self.spec.parent / name
            if not place.exists():
                place.symlink_to(self.folder / name)
        document = {
            "schema_version": 2,
            "version_id": "small",
            "comfy": {"repo": "core"},
            "env": env,
        }
        self.spec.write_text(json.dumps(document))

    def write_lock(self, path: Path | None = None) -> None:
        path = path or self.lock
        path.parent.mkdir(exist_ok=True)
        self.version.changes = {"spec_digest": spec_digest(load_spec(self.spec).spec)}
        path.write_bytes(self.version.lock().to_bytes())

    def realize(self, *options: str) -> int:
        wheels = str(self.version.wheels_dir)
        return run_command_line(
            ["realize", "small", "--target", str(self.home), "--wheels-dir", wheels, *options]
        )


@pytest.fixture
def long_ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An entry for each realization that went the long way."""
    gone: list[str] = []
    realize = run.realize

    def counted(job: Realization) -> object:
        gone.append(job.lock.version_id)
        return realize(job)

    monkeypatch.setattr(run, "realize", counted)
    return gone


@pytest.fixture
def project(version: Version, monkeypatch: pytest.MonkeyPatch, long_ways: list[str]) -> Project:
    for name in ("LOCK_PATH", "MODELS_DIR", "COMFY_HOME", "COMFY_VERSION_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COMFY_CACHE_ROOT", str(version.cache.root))
    monkeypatch.chdir(version.folder)
    # The folders were made a moment ago.
    monkeypatch.setattr(tree_files, "_CLOCK_NS", 0)
    project = Project(version)
    assert project.realize() == 0
    assert len(long_ways) == 1
    return project


def test_a_second_time_goes_the_short_way_and_says_the_same(
    project: Project, long_ways: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (project.home / UNCHANGED_NAME).unlink()
    capsys.readouterr()
    told = []
    for _ in ("long", "short"):
        assert project.realize() == 0
        told.append(capsys.readouterr())
    assert len(long_ways) == 2
    assert told[0] == told[1]
    documents = []
    (project.home / UNCHANGED_NAME).unlink()
    for _ in ("long", "short"):
        assert project.realize("--json") == 0
        documents.append(json.loads(capsys.readouterr().out) | {"seconds": 0})
    assert len(long_ways) == 3
    assert documents[0] == documents[1]


def test_the_short_way_loads_no_model_and_starts_no_process(project: Project) -> None:
    program = (
        "import subprocess, sys\n"
        "subprocess.Popen = None\n"
        "from runpod_comfy.cli.app import run_command_line\n"
        "code = run_command_line(sys.argv[1:])\n"
        "sys.exit(code or 'pydantic' in sys.modules)\n"
    )
    wheels = str(project.version.wheels_dir)
    arguments = ["realize", "small", "--target", str(project.home), "--wheels-dir", wheels]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PACKAGES)},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "small: realized, nothing to do\n")


def _edit_spec(project: Project) -> None:
    project.write_spec({"COLOUR": "red"})
    project.write_lock()


def _replace_lock(project: Project) -> None:
    project.version.nodes = []
    project.write_lock()


def _edit_marker(project: Project) -> None:
    marker = project.home / ".comfy_env"
    marker.write_text(marker.read_text().replace('"complete": true', '"complete": false'))


def _resize_model(project: Project) -> None:
    place = project.home / "models/loras/a.bin"
    place.unlink()
    place.write_text("other")


def _forget_root(project: Project) -> None:
    shutil.rmtree(project.version.cache.roots)


@pytest.mark.parametrize(
    "change",
    [
        _edit_spec,
        _replace_lock,
        _edit_marker,
        _resize_model,
        _forget_root,
        lambda project: (project.home / "models/loras/a.bin").unlink(),
        lambda project: shutil.rmtree(project.home / "ComfyUI/custom_nodes/painter"),
        lambda project: shutil.rmtree(project.home / ".venv"),
        lambda project: (project.home / "ComfyUI/main.py").unlink(),
        lambda project: (project.home / "ComfyUI/extra_model_paths.yaml").unlink(),
        lambda project: (project.home / ".comfy_object_info.json").unlink(),
        lambda project: (project.home / UNCHANGED_NAME).write_text("{}"),
        lambda project: (project.home / UNCHANGED_NAME).write_text("torn"),
    ],
)
def test_whatever_changed_goes_the_long_way(
    project: Project, long_ways: list[str], change: Callable[[Project], object]
) -> None:
    change(project)
    project.realize()
    assert len(long_ways) == 2


def _edit(file: Path) -> None:
    """As many bytes as before, at the time of before."""
    times = file.stat()
    file.write_bytes(file.read_bytes().swapcase())
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda node: _edit(node / "__init__.py"), "was changed since it was locked"),
        (lambda node: (node / "new.py").touch(), "was changed since it was locked"),
        (lambda node: (node / "__init__.py").unlink(), "was changed since it was locked"),
        (lambda node: (node / "__init__.py").chmod(0o755), "was changed since it was locked"),
        (lambda node: os.mkfifo(node / "pipe"), "was changed since it was locked"),
        (shutil.rmtree, "is gone"),
    ],
)
def test_an_edited_folder_goes_the_long_way_and_is_reported_each_time(
    project: Project,
    long_ways: list[str],
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Path], object],
    what: str,
) -> None:
    node = project.folder / "painter"
    change(node)
    for times in (2, 3):
        capsys.readouterr()
        assert project.realize() == 0
        assert len(long_ways) == times
        warning, answer = capsys.readouterr().err.splitlines()
        assert warning.startswith(f"Warning: painter: {node} {what}; its locked version is used. ")
        command = f"runpod-comfy realize small --target {project.home} --update"
        assert (command in warning) == (what != "is gone")
        assert answer == "small: realized, nothing to do"


def test_a_folder_that_is_as_it_was_again_is_not_reported(
    project: Project, long_ways: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = project.folder / "painter" / "__init__.py"
    _edit(file)
    _edit(file)
    capsys.readouterr()
    for _ in range(2):
        assert project.realize() == 0
        assert capsys.readouterr().err == "small: realized, nothing to do\n"
    assert len(long_ways) == 2


def test_what_is_not_part_of_a_folders_content_changes_nothing(
    project: Project, long_ways: list[str]
) -> None:
    (project.folder / "painter" / "__pycache__").mkdir()
    (project.folder / "painter" / "__pycache__" / "x.pyc").touch()
    assert project.realize() == 0
    assert len(long_ways) == 1


def test_a_folder_that_was_just_edited_is_read_again(
    project: Project, long_ways: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a tick of the file system's clock it may change again and keep its times."""
    (project.home / UNCHANGED_NAME).unlink()
    monkeypatch.setattr(tree_files, "_CLOCK_NS", 3_600_000_000_000)
    for times in (2, 3):
        assert project.realize() == 0
        assert len(long_ways) == times


@pytest.mark.parametrize("variable", ["LOCK_PATH", "MODELS_DIR"])
def test_another_variable_goes_the_long_way(
    project: Project, long_ways: list[str], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    place = project.folder / "elsewhere"
    if variable == "LOCK_PATH":
        project.write_lock(place)
    monkeypatch.setenv(variable, str(place))
    assert project.realize() == 0
    assert len(long_ways) == 2


@pytest.mark.parametrize("by", ["--lock", "LOCK_PATH"])
def test_a_lock_below_the_home_folder_is_watched(
    project: Project, long_ways: list[str], monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    place = project.folder / "elsewhere.lock.json"
    project.write_lock(place)
    monkeypatch.setenv("HOME", str(project.folder))
    options = ["--lock", f"~/{place.name}"] if by == "--lock" else []
    if by == "LOCK_PATH":
        monkeypatch.setenv(by, f"~/{place.name}")
    for _ in range(2):
        assert project.realize(*options) == 0
    assert len(long_ways) == 2
    place.unlink()
    assert project.realize(*options) == 3


@pytest.mark.parametrize("option", ["--verbose", "--offline", "--models-dir=elsewhere"])
def test_another_option_goes_the_long_way(
    project: Project, long_ways: list[str], option: str
) -> None:
    assert project.realize(option) == 0
    assert len(long_ways) == 2


def test_the_short_way_finds_the_project_as_the_long_way_does(
    project: Project,
    long_ways: list[str],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(project.spec.parent)
    assert project.realize() == 0
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert project.realize("--project", str(project.folder)) == 0
    assert len(long_ways) == 1
    assert project.realize() == 3
    other = tmp_path_factory.mktemp("other-project")
    shutil.copytree(project.folder / "versions", other / "versions")
    shutil.copytree(project.folder / "lockfiles", other / "lockfiles")
    assert project.realize("--project", str(other)) == 0
    assert len(long_ways) == 2


def test_the_project_is_searched_for_once(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[object] = []

    def find_and_count(named: Path | None) -> Path:
        searched.append(named)
        return find_project(named)

    monkeypatch.setattr(unchanged, "find_project", find_and_count)
    assert project.realize() == 0
    assert searched == [None]


def test_a_dry_run_is_not_answered_from_the_note(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert project.realize("--dry-run") == 0
    assert "nothing to do" in capsys.readouterr().out


def test_an_edited_program_goes_the_long_way(
    project: Project, long_ways: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = tmp_path / "program"
    shutil.copytree(PACKAGES / "runpod_comfy", other / "runpod_comfy")
    shutil.copytree(LAYER_SCRIPTS, other / "layers")
    monkeypatch.setattr(program, "PACKAGES", other)
    monkeypatch.setattr(program, "PACKAGE_NAMES", ("runpod_comfy",))
    monkeypatch.setattr(program, "LAYER_SCRIPTS", other / "layers")
    assert project.realize() == 0
    assert project.realize() == 0
    assert len(long_ways) == 2
    for edited in (other / "runpod_comfy/__init__.py", other / "layers/core.sh"):
        before = len(long_ways)
        edited.write_text(edited.read_text() + "\n")
        assert project.realize() == 0
        assert len(long_ways) == before + 1
