"""`list`: locks, homes and bundles as they are on this machine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from runpod_comfy.api import listing
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cli.app import run_command_line
from runpod_comfy.images.show import ListedImage
from tests.runpod_comfy.cli.test_unchanged import Project
from tests.runpod_comfy.homes.conftest import Version, version

__all__ = ["version"]


@pytest.fixture
def project(version: Version, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The version `small`, realized; no engine."""
    project = Project(version)
    monkeypatch.chdir(project.folder)
    monkeypatch.setenv("COMFY_CACHE_ROOT", str(version.cache.root))
    monkeypatch.setenv("HOME", str(project.folder))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{project.folder}/no.sock")
    for name in ("LOCK_PATH", "MODELS_DIR", "COMFY_HOME", "COMFY_VERSION_NAME"):
        monkeypatch.delenv(name, raising=False)
    assert project.realize() == 0
    return project


def _listed(capsys: pytest.CaptureFixture[str], *options: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert run_command_line(["list", "--json", *options]) == 0
    versions: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["versions"]
    return versions


def test_a_version_is_listed_with_its_lock_and_its_homes(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    (version,) = _listed(capsys)
    assert (version["version_id"], version["lock"]) == ("small", "fresh")
    assert version["lock_path"] == str(project.lock)
    assert version["homes"] == [{"path": str(project.home), "state": "ready"}]
    assert version["images"] is None


def test_a_terminal_shows_a_table(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run_command_line(["list"]) == 0
    told = capsys.readouterr()
    assert [line.split() for line in told.out.splitlines()] == [
        ["VERSION", "LOCK", "HOME"],
        ["small", "fresh", str(project.home)],
    ]
    # Nothing is said of an engine that is not there.
    assert told.err == ""
    assert run_command_line(["list", "--verbose"]) == 0
    assert "no Docker engine answers" in capsys.readouterr().err


def test_a_changed_spec_makes_its_lock_and_its_home_outdated(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.write_spec({"COLOUR": "red"})
    (version,) = _listed(capsys)
    assert version["lock"] == "outdated"
    assert [home["state"] for home in version["homes"]] == ["outdated"]
    project.lock.unlink()
    (version,) = _listed(capsys)
    assert version["lock"] == "none"


@pytest.mark.parametrize(
    ("content", "lock"), [(None, "none"), ("[]", "unknown"), ('{"lock_', "unknown")]
)
def test_without_a_lock_to_compare_with_no_home_or_image_is_called_outdated(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    content: str | None,
    lock: str,
) -> None:
    image = ListedImage(
        image_id="sha256:1",
        tags=("small:cpu",),
        version_id="small",
        lock_digest="sha256:2",
        size_bytes=1,
    )
    monkeypatch.setattr(listing, "_images", lambda _: [image])
    project.lock.unlink()
    if content is not None:
        project.lock.write_text(content)
    (version,) = _listed(capsys)
    assert version["lock"] == lock
    assert version["homes"] == [{"path": str(project.home), "state": "unknown"}]
    assert run_command_line(["list"]) == 0
    _, row = capsys.readouterr().out.splitlines()
    assert row.split() == ["small", lock, str(project.home), "(unknown)", "small:cpu", "(unknown)"]


def test_homes_that_are_unfinished_broken_or_gone(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    marker = project.home / ".comfy_env"
    marker.write_text(marker.read_text().replace('"complete": true', '"complete": false'))
    assert [home["state"] for home in _listed(capsys)[0]["homes"]] == ["unfinished"]
    marker.write_text("{")
    assert [home["state"] for home in _listed(capsys)[0]["homes"]] == ["unreadable"]
    shutil.rmtree(project.home)
    assert _listed(capsys)[0]["homes"] == []


def test_a_home_at_the_usual_place_is_found_without_a_record(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = project.home.rename(project.folder / "comfy-small")
    shutil.rmtree(project.version.cache.roots)
    assert _listed(capsys)[0]["homes"] == [{"path": str(usual), "state": "ready"}]


def test_a_spec_that_cannot_be_read_does_not_hide_the_others(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    (project.spec.parent / "broken.json").write_text("{")
    capsys.readouterr()
    assert run_command_line(["list"]) == 0
    told = capsys.readouterr()
    assert [line.split()[:2] for line in told.out.splitlines()[1:]] == [
        ["broken", "unknown"],
        ["small", "fresh"],
    ]
    assert "broken.json" in told.err


def test_versions_of_loaded_bundles_are_listed_in_any_project(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = Cache.from_environment()
    cache.loaded_spec("small").parent.mkdir(parents=True)
    shutil.copy(project.spec, cache.loaded_spec("small"))
    elsewhere = tmp_path / "another-project"
    (elsewhere / "versions").mkdir(parents=True)
    assert [version["is_bundled"] for version in _listed(capsys)] == [False]
    (version,) = _listed(capsys, "--project", str(elsewhere))
    assert version["is_bundled"]
    assert version["spec"] == str(cache.loaded_spec("small"))


def test_without_versions_the_next_step_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMFY_CACHE_ROOT", str(tmp_path / "cache"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    assert run_command_line(["list", "--project", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert f"There are no versions in {tmp_path}/versions" in told.err
    assert "runpod-comfy create" in told.err
