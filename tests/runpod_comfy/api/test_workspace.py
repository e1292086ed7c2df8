"""Which folder is the project, and which version is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfy_errors import InvalidInputError, UnavailableError
from runpod_comfy.api.workspace import find_project, one_name, spec_files, version_id_of
from runpod_comfy.cache.paths import Cache


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with `versions/` and a folder below it."""
    (tmp_path / "project" / "versions").mkdir(parents=True)
    (tmp_path / "project" / "notes" / "of-may").mkdir(parents=True)
    return tmp_path / "project"


@pytest.mark.parametrize("here", [".", "notes/of-may", "versions"])
def test_the_project_is_the_folder_with_versions_at_or_above(
    project: Path, monkeypatch: pytest.MonkeyPatch, here: str
) -> None:
    monkeypatch.chdir(project / here)
    assert find_project(None) == project


def test_the_nearest_folder_with_versions_is_taken(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "notes" / "versions").mkdir()
    monkeypatch.chdir(project / "notes" / "of-may")
    assert find_project(None) == project / "notes"


def test_without_versions_above_the_project_is_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_project(None) == tmp_path


def test_a_folder_that_is_named_takes_precedence(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    assert find_project(tmp_path) == tmp_path
    assert find_project("notes") == project / "notes"
    with pytest.raises(UnavailableError, match="there is no project folder nowhere") as caught:
        find_project("nowhere")
    assert caught.value.remedy == "Create it, or name another folder with --project."


def test_a_file_is_no_project_folder(project: Path) -> None:
    (project / "README.md").touch()
    with pytest.raises(InvalidInputError, match="README.md is a file") as caught:
        find_project(project / "README.md")
    assert "Create it" not in caught.value.remedy


def test_the_projects_spec_takes_precedence_over_that_of_a_bundle(
    project: Path, cache: Cache
) -> None:
    for folder, names in ((cache.loaded / "versions", "ab"), (project / "versions", "bc")):
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            (folder / f"{name}.json").write_text("{}")
    found = spec_files(project, cache)
    assert list(found) == ["a", "b", "c"]
    assert found["a"] == cache.loaded_spec("a")
    assert found["b"] == project / "versions" / "b.json"


def test_the_environment_names_the_version_when_nothing_else_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("COMFY_VERSION_NAME", raising=False)
    assert version_id_of(None) == "demo"
    monkeypatch.setenv("COMFY_VERSION_NAME", "mine")
    assert version_id_of(None) == "mine"
    assert version_id_of("asked") == "asked"


def test_an_empty_id_is_not_the_default_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFY_VERSION_NAME", "mine")
    for named in (one_name("", None), one_name(None, "")):
        with pytest.raises(InvalidInputError, match="the version id is empty"):
            version_id_of(named)


def test_two_names_for_one_version_are_refused() -> None:
    assert one_name("one", None) == one_name(None, "one") == one_name("one", "one") == "one"
    assert one_name(None, None) is None
    for other in ("two", ""):
        with pytest.raises(InvalidInputError, match="two versions"):
            one_name("one", other)
