from __future__ import annotations

from pathlib import Path

import pytest

from rp_handler.inputs.view import InputView


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    for name in ("example.png", "3d/shared.glb", "3d/more/x.glb", "masks/m.png"):
        put(tmp_path / "shared" / name, "shared")
    return tmp_path / "shared"


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def own_files(tmp_path: Path, *names: str) -> Path:
    for name in names:
        put(tmp_path / "own" / name, "own")
    return tmp_path / "own"


def shown(view: InputView) -> dict[str, str]:
    """As nodes see it, who follow links."""
    found: dict[str, str] = {}
    left = [view.root]
    while left:
        for path in left.pop().iterdir():
            if path.is_dir():
                left.append(path)
            else:
                found[path.relative_to(view.root).as_posix()] = path.read_text()
    return found


ALL = {
    "example.png": "shared",
    "3d/shared.glb": "shared",
    "3d/more/x.glb": "shared",
    "masks/m.png": "shared",
}


def test_a_job_sees_its_own_files_among_the_shared_ones(tmp_path: Path, shared: Path) -> None:
    view = InputView(tmp_path / "view", shared)
    assert shown(view) == ALL
    view.show(own_files(tmp_path, "example.png", "3d/own.glb", "3d/more/x.glb", "new/a.png"))
    mine = {"example.png": "own", "3d/own.glb": "own", "3d/more/x.glb": "own", "new/a.png": "own"}
    assert shown(view) == {**ALL, **mine}


def test_after_a_job_all_is_as_it_was(tmp_path: Path, shared: Path) -> None:
    view = InputView(tmp_path / "view", shared)
    view.show(own_files(tmp_path, "example.png", "3d/more/x.glb", "new/a.png"))
    put(view.root / "written/by_a_node.png", "x")
    put(view.root / "3d/more/by_a_node.glb", "x")
    view.show(None)
    assert shown(view) == ALL
    assert {path.name: path.read_text() for path in shared.rglob("*") if path.is_file()} == {
        Path(name).name: text for name, text in ALL.items()
    }


def test_files_of_one_job_are_not_there_for_the_next(tmp_path: Path, shared: Path) -> None:
    view = InputView(tmp_path / "view", shared)
    view.show(own_files(tmp_path, "a.png", "x/a.png"))
    view.show(own_files(tmp_path / "next", "b.png", "x/b.png"))
    assert shown(view) == {**ALL, "b.png": "own", "x/b.png": "own"}


def test_a_file_may_take_the_name_of_a_folder_and_the_other_way_round(
    tmp_path: Path, shared: Path
) -> None:
    view = InputView(tmp_path / "view", shared)
    view.show(own_files(tmp_path, "3d", "example.png/a.png"))
    assert shown(view) == {"3d": "own", "example.png/a.png": "own", "masks/m.png": "shared"}
    view.show(None)
    assert shown(view) == ALL


def test_a_shared_file_that_comes_or_goes_is_noticed(tmp_path: Path, shared: Path) -> None:
    view = InputView(tmp_path / "view", shared)
    put(shared / "new.png", "shared")
    (shared / "example.png").unlink()
    view.show(None)
    assert "new.png" in shown(view)
    assert "example.png" not in shown(view)


def test_there_may_be_no_shared_files(tmp_path: Path) -> None:
    view = InputView(tmp_path / "view", tmp_path / "missing")
    view.show(own_files(tmp_path, "a/b.png"))
    assert shown(view) == {"a/b.png": "own"}
    assert not (view.root / "a/b.png").is_symlink()
