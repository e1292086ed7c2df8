from __future__ import annotations

from pathlib import Path

import pytest

from rp_handler.job_models.view import ModelView

KNOWN = ("loras", "vae", "bbox", "nested/inner")


@pytest.fixture
def view(tmp_path: Path) -> ModelView:
    return ModelView(tmp_path / "view", KNOWN)


def shown(view: ModelView) -> dict[str, Path]:
    return {
        path.relative_to(view.root).as_posix(): path.readlink()
        for path in view.root.rglob("*")
        if path.is_symlink()
    }


def times(view: ModelView) -> dict[str, float]:
    """As the engine reads them."""
    return {one: (view.root / one).stat().st_mtime for one in (*KNOWN, "nested")}


def test_it_has_the_links_of_one_job_at_a_time(view: ModelView, tmp_path: Path) -> None:
    first = {"loras/a/x": tmp_path / "1", "vae/y": tmp_path / "2"}
    view.show(first)
    assert shown(view) == first
    second = {"loras/a": tmp_path / "3", "nested/inner/z": tmp_path / "4"}
    view.show(second)
    assert shown(view) == second
    view.show({})
    assert shown(view) == {}
    left = {path.relative_to(view.root).as_posix() for path in view.root.rglob("*")}
    assert left == {*KNOWN, "nested"}


def test_what_a_node_wrote_there_is_removed(view: ModelView, tmp_path: Path) -> None:
    view.show({"loras/x": tmp_path / "1"})
    (view.root / "loras/by_a_node").mkdir()
    (view.root / "nested/file").touch()
    view.show({})
    assert not list((view.root / "loras").iterdir())
    assert [path.name for path in (view.root / "nested").iterdir()] == ["inner"]


def test_a_folder_gets_another_time_with_each_change_below_it(
    view: ModelView, tmp_path: Path
) -> None:
    seen = [times(view)]
    for number in range(20):
        view.show({f"loras/deep/er/{number % 2}": tmp_path / "1"})
        seen.append(times(view))
    assert len({one["loras"] for one in seen}) == len(seen)
    # The engine reads a folder again, with everything in it, when its time has changed.
    assert len({one["vae"] for one in seen}) == 1


def test_an_equal_file_leaves_the_times(view: ModelView, tmp_path: Path) -> None:
    view.show({"loras/x": tmp_path / "1"})
    before = times(view)
    view.show({"loras/x": tmp_path / "1", "vae/y": tmp_path / "2"})
    assert times(view)["bbox"] == before["bbox"]
    view.show({"loras/x": tmp_path / "3"})
    assert times(view)["loras"] > before["loras"]


def test_folders_within_folders_of_the_engine_all_change(tmp_path: Path) -> None:
    view = ModelView(tmp_path / "view", ["a", "a/b"])
    before = [(view.root / one).stat().st_mtime for one in ("a", "a/b")]
    view.show({"a/b/x": tmp_path / "1"})
    after = [(view.root / one).stat().st_mtime for one in ("a", "a/b")]
    assert all(new > old for new, old in zip(after, before, strict=True))


def test_what_could_not_be_cleared_is_not_there_for_the_next_job(
    view: ModelView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    view.show({"loras/x": tmp_path / "1"})
    with monkeypatch.context() as broken:
        broken.setattr(Path, "unlink", _refuse)
        with pytest.raises(PermissionError):
            view.show({})
    assert shown(view) == {"loras/x": tmp_path / "1"}
    view.show({})
    assert shown(view) == {}


def _refuse(path: Path, *_: object) -> None:
    raise PermissionError(13, "Permission denied", str(path))
