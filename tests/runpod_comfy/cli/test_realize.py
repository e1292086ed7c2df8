"""`realize --verify` and `--repair` as a user meets them: exit codes, messages, a document."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from runpod_comfy.cache.roots import read_roots
from runpod_comfy.cli.app import run_command_line
from tests.runpod_comfy.cli.test_unchanged import Project
from tests.runpod_comfy.homes.conftest import Version, version

__all__ = ["version"]


@pytest.fixture
def project(version: Version, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Realized once, with its first lock in `lockfiles/` as a clone brings it."""
    project = Project(version)
    monkeypatch.chdir(project.folder)
    monkeypatch.setenv("COMFY_CACHE_ROOT", str(version.cache.root))
    for name in ("LOCK_PATH", "MODELS_DIR", "COMFY_HOME", "COMFY_VERSION_NAME"):
        monkeypatch.delenv(name, raising=False)
    assert project.realize() == 0
    return project


def _spoil(project: Project) -> Path:
    path = project.home / "ComfyUI" / "main.py"
    path.chmod(0o644)
    path.write_text("print('other')\n")
    return path


def test_a_whole_home_is_verified_with_counts(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert project.realize("--verify") == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("verified: ")


def test_a_difference_is_named_and_the_next_command_fixes_it(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _spoil(project)
    capsys.readouterr()
    assert project.realize("--verify") == 4
    said = capsys.readouterr().err
    assert str(path) in said
    assert "--repair" in said
    # It is not mended by accident.
    assert project.realize() == 0
    assert path.read_text() == "print('other')\n"
    assert project.realize("--repair") == 0
    assert path.read_text() == "print('core')\n"
    assert project.realize("--verify") == 0


def test_a_damaged_marker_names_the_command_that_makes_it_again(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    (project.home / ".comfy_env").write_text("{")
    capsys.readouterr()
    assert project.realize() == 2
    error, remedy = capsys.readouterr().err.splitlines()
    assert "is not valid JSON" in error
    assert remedy.endswith(f"runpod-comfy realize small --target {project.home} --repair")
    assert project.realize("--repair") == 0
    assert project.realize("--verify") == 0
    assert project.realize() == 0


def test_a_home_without_its_marker_is_removed_with_its_own_nodes(project: Project) -> None:
    (project.home / ".comfy_env").unlink()
    command = ["remove", "--target", str(project.home), "--yes", "--remove-models"]
    assert run_command_line([*command, "--remove-root"]) == 0
    assert not project.home.exists()
    assert project.realize() == 0


def test_a_node_that_is_not_in_the_lock_is_reported_and_kept(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    path = project.home / "ComfyUI" / "custom_nodes" / "mine"
    path.mkdir()
    (path / "__init__.py").write_text("NODE_CLASS_MAPPINGS = {}\n")
    for flag in ("--verify", "--repair"):
        capsys.readouterr()
        assert project.realize(flag) == 4
        said = capsys.readouterr().err.partition("error: ")[2]
        assert str(path) in said
        assert "--repair" not in said
    assert (path / "__init__.py").exists()


def test_a_model_file_of_a_users_is_to_be_moved_away_before_anything_is_repaired(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    place = project.home / "models/loras/a.bin"
    place.unlink()
    place.write_text("WEIGHTS")
    marker = project.home / ".comfy_env"
    before = marker.read_bytes()
    spoiled = _spoil(project)
    for flag in ("--verify", "--repair"):
        capsys.readouterr()
        assert project.realize(flag) == 4
        error, remedy = capsys.readouterr().err.splitlines()[-2:]
        assert error.endswith(f"left alone because it was added by hand: {place}")
        assert remedy.startswith("  → Move it away, then realize with --repair")
        assert marker.read_bytes() == before
    assert spoiled.read_text() == "print('other')\n"
    place.unlink()
    assert project.realize("--repair") == 0
    assert project.realize("--verify") == 0


@pytest.mark.parametrize("flag", ["--verify", "--repair"])
def test_an_empty_folder_is_named_in_the_command_that_realizes_there(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flag: str,
) -> None:
    empty = project.folder / "an empty folder"
    empty.mkdir()
    command = ["realize", "small", flag]
    capsys.readouterr()
    assert run_command_line([*command, "--target", str(empty)]) == 3
    assert capsys.readouterr().err.splitlines()[-2:] == [
        f"error: nothing is realized at {empty}",
        f"  → Run: runpod-comfy realize small --target '{empty}'",
    ]
    monkeypatch.setenv("COMFY_HOME", str(empty))
    assert run_command_line(command) == 3
    assert capsys.readouterr().err.endswith("  → Run: runpod-comfy realize small\n")


@pytest.mark.parametrize("other", ["--verify", "--dry-run"])
def test_repair_changes_something_so_it_does_not_go_with_what_only_looks(
    project: Project, other: str
) -> None:
    path = _spoil(project)
    assert project.realize("--repair", other) == 2
    assert path.read_text() == "print('other')\n"


def test_differences_are_one_document(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    path = _spoil(project)
    capsys.readouterr()
    assert project.realize("--verify", "--json") == 4
    document = json.loads(capsys.readouterr().out)
    assert document["verified"] is False
    assert document["differences"][0]["path"] == str(path)


def test_without_a_lock_there_is_nothing_to_compare_with(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.lock.unlink()
    assert project.realize("--verify") == 3
    assert "resolve small" in capsys.readouterr().err
    assert not project.lock.exists()


def test_a_lock_that_came_with_a_clone_keeps_the_cache(project: Project) -> None:
    recorded = {root.path: root.kind for root in read_roots(project.version.cache)}
    assert recorded[project.lock] == "lock"
    assert recorded[project.home] == "home"


def test_what_keeps_the_cache_is_not_recorded_while_it_is_cleared(project: Project) -> None:
    cache = project.version.cache
    for file in cache.roots.iterdir():
        file.unlink()
    realizing = threading.Thread(target=project.realize)
    with cache.alone():
        realizing.start()
        realizing.join(timeout=1)
        assert realizing.is_alive()
        assert read_roots(cache) == []
    realizing.join()
    assert {root.path for root in read_roots(cache)} >= {project.lock, project.home}


def test_a_dry_run_records_nothing(project: Project) -> None:
    for file in project.version.cache.roots.iterdir():
        file.unlink()
    assert project.realize("--dry-run") == 0
    assert read_roots(project.version.cache) == []


def test_a_dry_run_names_only_what_the_run_will_do(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.home = project.folder / "other"
    capsys.readouterr()
    assert project.realize("--dry-run") == 0
    first, *lines, last = capsys.readouterr().out.splitlines()
    assert first == f"small → {project.home}"
    assert lines == [
        *("build  layer system", "recall layer torch", "recall layer wheels"),
        *("build  layer handler", "build  layer core", "build  layer models"),
        *("build  layer node:painter", "recall layer check", "link   model a.bin"),
    ]
    assert last == "0 bytes to fetch in total; nothing was changed"
    assert project.realize("--dry-run", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["recalled_layers"] == ["torch", "wheels", "check"]
    assert (document["trees"], document["packages"], document["package_bytes"]) == ([], [], 0)


def test_a_dry_run_reports_what_is_missing_as_the_run_does(
    project: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COMFY_CACHE_ROOT", str(tmp_path / "empty"))
    command = ["realize", "small", "--target", str(tmp_path / "other"), "--offline"]
    capsys.readouterr()
    assert run_command_line([*command, "--dry-run"]) == 3
    told = capsys.readouterr()
    assert told.out == ""
    said = told.err
    assert "2 items are missing here, and network access is off (--offline):" in said
    assert "package alpha 1.0 (alpha-1.0-py3-none-any.whl" in said
    assert run_command_line(command) == 3
    assert capsys.readouterr().err == said
    assert not (tmp_path / "other").exists()


def test_a_dry_run_reports_wheels_that_the_folder_lacks(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wheels").mkdir()
    project.home = tmp_path / "other"
    options = ("--wheels-dir", str(tmp_path / "wheels"))
    capsys.readouterr()
    assert project.realize("--dry-run", *options) == 3
    told = capsys.readouterr()
    assert told.out == ""
    assert project.realize(*options) == 3
    assert capsys.readouterr().err == told.err
    assert not project.home.exists()


def test_a_file_is_no_folder_of_wheels(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert project.realize("--wheels-dir", str(project.lock)) == 2
    assert f"{project.lock} is not a folder" in capsys.readouterr().err


def test_gc_tells_by_kind_what_would_go_and_what_went(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    remove = ["remove", "--target", str(project.home), "--yes", "--remove-models"]
    assert run_command_line(remove) == 0
    capsys.readouterr()
    assert run_command_line(["gc", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "environment" not in said
    # Why so little: the lock that is still there keeps the rest.
    [kept_line] = [line for line in said.splitlines() if str(project.lock) in line]
    assert "  lock " in kept_line
    project.lock.write_text("{}")
    project.write_lock()
    project.version.wheels = [project.version.wheel("beta", "1.0")]
    project.write_lock()
    assert run_command_line(["gc", "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert "environment" in {entry["kind"] for entry in told["removed"]}
    assert list(project.version.cache.environments.iterdir())
    assert run_command_line(["gc"]) == 0
    assert any(line.endswith(" freed") for line in capsys.readouterr().out.splitlines())
    assert list(project.version.cache.environments.iterdir()) == []


def test_update_excludes_what_only_looks(project: Project) -> None:
    for other in ("--verify", "--dry-run", "--repair"):
        assert project.realize("--update", other) == 2
