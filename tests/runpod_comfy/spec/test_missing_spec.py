"""A spec that is not there: what is said of its neighbours."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from comfy_errors import UnavailableError
from runpod_comfy.spec.load import find_spec, load_spec


def remedy_for(path: Path) -> str:
    with pytest.raises(UnavailableError) as caught:
        load_spec(path)
    assert caught.value.exit_code == 3
    assert str(path) in caught.value.message
    return caught.value.remedy


@pytest.fixture
def versions(tmp_path: Path) -> Path:
    """A folder of two versions, and of something that is none."""
    folder = tmp_path / "versions"
    folder.mkdir()
    for name in ("landscape.json", "portrait.json", "notes.txt"):
        (folder / name).write_text("{}")
    return folder


def test_a_spec_is_found_by_its_id(versions: Path, tmp_path: Path) -> None:
    assert find_spec("portrait", tmp_path) == versions / "portrait.json"


def test_the_nearest_version_is_proposed(versions: Path) -> None:
    assert remedy_for(versions / "Portrat.json").startswith("Did you mean 'portrait'?")


def test_without_a_near_one_the_versions_are_listed(versions: Path) -> None:
    remedy = remedy_for(versions / "zzz.json")
    assert remedy.startswith("There are: landscape, portrait.")
    assert "--project DIR" in remedy
    assert "runpod-comfy create zzz --repo" in remedy


def test_versions_that_are_not_listed_are_counted(versions: Path) -> None:
    for number in range(10):
        (versions / f"a{number}.json").write_text("{}")
    assert "a8, a9 and 2 more." in remedy_for(versions / "zzz.json")


def test_an_empty_folder_and_one_that_is_not_there_are_called_so(tmp_path: Path) -> None:
    place = tmp_path / "versions" / "x.json"
    remedy = remedy_for(place)
    assert remedy.startswith(f"There is no folder {place.parent}.")
    assert "--project DIR" in remedy
    place.parent.mkdir()
    assert remedy_for(place).startswith("There are no specs in that folder")


def test_json_files_of_another_folder_are_not_taken_for_specs(versions: Path) -> None:
    elsewhere = versions.rename(versions.with_name("my files"))
    for name in ("zzz.json", "portrat.json"):
        remedy = remedy_for(elsewhere / name)
        assert "portrait" not in remedy
        assert remedy.startswith("Check the path, or write")
        assert f"--output {shlex.quote(str(elsewhere / name))}" in remedy
