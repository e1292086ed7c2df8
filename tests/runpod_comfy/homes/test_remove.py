from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from comfy_errors import InvalidInputError
from comfy_home.layout import MARKER_NAME, UNCHANGED_NAME
from comfy_home.manifest import Manifest, save_manifest
from runpod_comfy.homes import home as module
from runpod_comfy.homes.remove import plan_removal, remove
from runpod_comfy.homes.run import realize
from tests.runpod_comfy.homes.conftest import Version, snapshot


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home as a user leaves it: with pictures, and a model of their own."""
    home = tmp_path / "home"
    for path in (
        "ComfyUI/main.py",
        ".venv/bin/python",
        "models/loras/own.bin",
        "output/picture.png",
    ):
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_text(path)
    (home / "input").mkdir()
    (home / "user").mkdir()
    save_manifest(home, Manifest(version_id="demo"))
    return home


def _names(home: Path) -> set[str]:
    return {path.name for path in home.iterdir()}


def test_program_and_environment_are_removed_and_user_files_are_kept(home: Path) -> None:
    left = remove(plan_removal(home))
    assert {path.name for path in left} == {"input", "models", "output", "user"}
    assert _names(home) == {"input", "models", "output", "user"}
    assert (home / "models/loras/own.bin").is_file()
    assert (home / "output/picture.png").is_file()


def test_nodes_that_a_person_put_there_stay_and_are_named(version: Version) -> None:
    home = version.home
    realize(version.job())
    own = [home / "ComfyUI/custom_nodes" / name for name in ("byhand", "single.py")]
    own[0].mkdir()
    own[1].write_text("NODE_CLASS_MAPPINGS = {}\n")
    removal = plan_removal(home)
    assert removal.unmanaged_nodes == tuple(own)
    remove(removal)
    assert set((home / "ComfyUI").iterdir()) == {home / "ComfyUI/custom_nodes"}
    assert sorted((home / "ComfyUI/custom_nodes").iterdir()) == own
    realize(version.job())
    assert own[1].is_file()
    assert (home / "ComfyUI/main.py").is_file()


@pytest.mark.parametrize("damage", [None, "{"])
def test_a_versions_own_nodes_are_known_without_its_marker(
    version: Version, damage: str | None
) -> None:
    home = version.home
    realize(version.job())
    own = home / "ComfyUI/custom_nodes/byhand"
    own.mkdir()
    (home / MARKER_NAME).unlink()
    if damage is not None:
        (home / MARKER_NAME).write_text(damage)
    removal = plan_removal(home, remove_models=True, cache=version.cache)
    assert removal.unmanaged_nodes == (own,)
    remove(removal, cache=version.cache)
    realize(version.job())
    assert own.is_dir()


def test_models_go_when_that_is_asked_for(home: Path) -> None:
    remove(plan_removal(home, remove_models=True))
    assert _names(home) == {"input", "output", "user"}


def test_the_folder_itself_is_removed_only_if_no_user_files_are_left(home: Path) -> None:
    save = home / "output/picture.png"
    remove(plan_removal(home, remove_models=True, remove_root=True))
    assert _names(home) == {"output"}
    assert save.is_file()
    save.unlink()
    (home / "ComfyUI").mkdir()
    assert remove(plan_removal(home, remove_root=True)) == ()
    assert not home.exists()


def test_a_realized_version_leaves_no_file_behind(version: Version) -> None:
    home = version.home
    realize(version.job())
    # As a kill leaves it that comes while the note of a realization is written.
    (home / f".{UNCHANGED_NAME}.partial").touch()
    remove(plan_removal(home, remove_models=True, remove_root=True))
    assert not home.exists()


def test_models_that_nodes_downloaded_stay_with_the_others(version: Version) -> None:
    version.write("core/models/configs/v1.yaml", "a: 1\n")
    version.models = [version.model("x.bin", "x", target_path="LLM/x.bin")]
    home = version.home
    realize(version.job())
    seen = home / "ComfyUI/models/LLM"
    assert (seen / "x.bin").samefile(home / "models/LLM/x.bin")
    (seen / "own.bin").write_text("mine")
    remove(plan_removal(home))
    assert not (home / "ComfyUI").exists()
    assert sorted(path.name for path in (home / "models/LLM").iterdir()) == ["own.bin", "x.bin"]


def test_what_an_engine_started_by_hand_keeps_inside_the_core_stays(
    version: Version,
) -> None:
    home = version.home
    realize(version.job())
    picture = home / "ComfyUI/output/picture.png"
    model = home / "ComfyUI/models/loras/own.bin"
    # As in an installation by hand; a version's leads to the home's.
    (home / "ComfyUI/models").unlink()
    for path in (picture, model):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    left = remove(plan_removal(home))
    assert home / "ComfyUI" in left
    assert {path for path in (home / "ComfyUI").rglob("*") if path.is_file()} == {picture, model}
    realize(version.job())
    assert picture.read_text() == "mine"
    remove(plan_removal(home, remove_models=True))
    assert {path for path in (home / "ComfyUI").rglob("*") if path.is_file()} == {picture}


def test_what_git_does_not_know_in_an_installation_by_hand_stays(tmp_path: Path) -> None:
    core = tmp_path / "home" / "ComfyUI"
    for path in ("main.py", "input/example.png", "output/picture.png"):
        (core / path).parent.mkdir(parents=True, exist_ok=True)
        (core / path).write_text(path)
    for command in (["init", "--quiet"], ["add", "main.py", "input"]):
        subprocess.run(["git", "-C", str(core), *command], check=True)
    remove(plan_removal(tmp_path / "home"))
    assert [path for path in core.rglob("*") if path.is_file()] == [core / "output/picture.png"]


def test_looking_changes_nothing_and_tells_sizes(home: Path, tmp_path: Path) -> None:
    (home / ".venv/shared.py").write_bytes(b"x" * 1000)
    (tmp_path / "cache.py").hardlink_to(home / ".venv/shared.py")
    before = snapshot(tmp_path)
    removal = plan_removal(home)
    sizes = {entry.path.name: (entry.size_bytes, entry.freed_bytes) for entry in removal.entries}
    own = len(".venv/bin/python")
    assert sizes[".venv"] == (1000 + own, own)
    assert removal.entries[-1].path.name == MARKER_NAME
    assert snapshot(tmp_path) == before


def test_a_core_without_a_marker_is_enough_and_neither_is_not(home: Path) -> None:
    (home / MARKER_NAME).unlink()
    remove(plan_removal(home))
    before = snapshot(home)
    with pytest.raises(InvalidInputError, match="neither"):
        plan_removal(home, remove_models=True, remove_root=True)
    assert snapshot(home) == before


def test_a_link_is_neither_a_core_nor_a_marker(home: Path, tmp_path: Path) -> None:
    (home / MARKER_NAME).unlink()
    (home / "ComfyUI").rename(tmp_path / "elsewhere")
    (home / "ComfyUI").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidInputError, match="neither"):
        plan_removal(home)


@pytest.mark.parametrize("link", ["ComfyUI", ".venv", "models", "ComfyUI/models", "ComfyUI/main"])
def test_no_link_is_followed_out_of_the_home(home: Path, tmp_path: Path, link: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious.bin").write_text("precious")
    if (home / link).exists():
        (home / link).rename(tmp_path / "aside")
    (home / link).symlink_to(outside)
    remove(plan_removal(home, remove_models=True, remove_root=True))
    assert (outside / "precious.bin").read_text() == "precious"
    assert not os.path.lexists(home / link)


def test_a_home_that_is_a_link_is_refused_and_its_real_name_reported(
    home: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(home)
    with pytest.raises(InvalidInputError) as caught:
        plan_removal(tmp_path / "link")
    assert str(home) in caught.value.remedy
    assert (home / "ComfyUI/main.py").is_file()


def _marked(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "ComfyUI").mkdir()
    return folder


@pytest.mark.parametrize(
    "place",
    [
        lambda tmp_path: tmp_path / "person",
        lambda tmp_path: tmp_path,
        lambda tmp_path: tmp_path / "person" / ".." / "person",
    ],
    ids=["home folder", "its parent", "its other name"],
)
def test_a_persons_folder_is_never_a_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Callable[[Path], Path]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    (tmp_path / "person").mkdir()
    _marked(place(tmp_path))
    with pytest.raises(InvalidInputError, match="your home folder"):
        plan_removal(place(tmp_path))


def test_the_root_of_the_disk_and_the_program_are_never_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidInputError):
        plan_removal(Path("/"))
    monkeypatch.setattr(module, "PACKAGES", tmp_path / "project")
    with pytest.raises(InvalidInputError, match="the folder of this program"):
        plan_removal(_marked(tmp_path / "project"))


def test_removed_half_way_it_can_be_removed_again(home: Path) -> None:
    removal = plan_removal(home)
    (home / "ComfyUI/main.py").unlink()
    (home / "ComfyUI").rmdir()
    remove(removal)
    assert _names(home) == {"input", "models", "output", "user"}
