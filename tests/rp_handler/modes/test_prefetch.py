from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from comfy_workflows.model_files import ModelFolders
from rp_handler.engine.prompt import Listener
from rp_handler.home.realized import Home, open_home
from rp_handler.modes.prefetch import free_memory_bytes, prefetch, prefetching
from tests.graphs import node, write_graph

_INPUTS = {"Checkpoint": {"ckpt_name": ["checkpoints"]}}
_CLASSES = {"Checkpoint": {"input": {"required": {"ckpt_name": [[]]}}, "output_node": True}}
_FREE = 2**33


def write(path: Path, size: int = 10) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    return path


@pytest.fixture
def folders(tmp_path: Path) -> ModelFolders:
    return ModelFolders(roots=[tmp_path / "models"], folders={}, inputs=_INPUTS)


@pytest.fixture
def workflows(tmp_path: Path) -> Path:
    """Two workflows, with a model each and a common one of 10, 20 and 30 bytes."""
    folder = tmp_path / "workflows"
    for name, size in (("a", 10), ("b", 20), ("both", 30)):
        write(tmp_path / f"models/checkpoints/{name}.safetensors", size)
    for name in ("a", "b"):
        graph: dict[str, Any] = {
            "1": node("Checkpoint", ckpt_name=f"{name}.safetensors"),
            "2": node("Checkpoint", ckpt_name="both.safetensors"),
        }
        folder.mkdir(exist_ok=True)
        write_graph(folder / f"{name}.json", graph)
    (folder / "broken.json").write_text("{")
    return folder


def test_a_file_with_several_links_is_read_once(
    tmp_path: Path, workflows: Path, folders: ModelFolders
) -> None:
    link = tmp_path / "models/checkpoints/link.safetensors"
    link.symlink_to(tmp_path / "models/checkpoints/a.safetensors")
    graph = {"1": node("Checkpoint", ckpt_name="link.safetensors")}
    write_graph(workflows / "linked.json", graph)
    assert read(None, workflows, folders, _FREE) == 60


def read(warm_up: str | None, workflows: Path, folders: ModelFolders, free: int) -> int:
    counted: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rp_handler.modes.prefetch.free_memory_bytes", lambda: free)
        prefetch(warm_up, workflows, _CLASSES, folders, counted.append)
    return sum(counted)


@pytest.mark.parametrize(
    ("warm_up", "size"),
    [(None, 60), ("a", 40), ("b", 50), ("none", 0), ("https://host/w.json", 60)],
)
def test_a_named_warm_up_is_read_alone(
    warm_up: str | None, size: int, workflows: Path, folders: ModelFolders
) -> None:
    assert read(warm_up, workflows, folders, _FREE) == size


def test_what_does_not_fit_is_left_out_and_little_memory_is_left_alone(
    workflows: Path, folders: ModelFolders, tmp_path: Path
) -> None:
    assert read(None, workflows, folders, 2**31) == 0
    large = tmp_path / "models/checkpoints/a.safetensors"
    with large.open("wb") as file:
        file.truncate(_FREE // 2)
    # The first one takes all of the room: sparse, so it is quick.
    os.truncate(large, _FREE // 2 + 1)
    assert read(None, workflows, folders, _FREE) == 50


def test_free_memory_is_what_the_container_may_still_use(tmp_path: Path) -> None:
    assert free_memory_bytes(tmp_path, tmp_path) == 0
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    8 kB\n")
    assert free_memory_bytes(tmp_path, tmp_path) == 8 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert free_memory_bytes(tmp_path, tmp_path) == 8 * 1024
    (tmp_path / "memory.max").write_text("5000\n")
    assert free_memory_bytes(tmp_path, tmp_path) == 4000
    (tmp_path / "memory.current").write_text("6000\n")
    assert free_memory_bytes(tmp_path, tmp_path) == 0


@pytest.fixture
def opened(home: Path) -> Home:
    return open_home(home, version_id="demo", id_was_asked=False)


def test_it_ends_with_the_start_and_tells_how_much_it_read(
    opened: Home, workflows: Path, folders: ModelFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Home, "model_folders", lambda _: folders)
    monkeypatch.setattr(Home, "recorded_classes", _CLASSES)
    monkeypatch.setattr("rp_handler.modes.prefetch.free_memory_bytes", lambda: _FREE)
    noted: list[tuple[str, int]] = []
    listener = Listener(
        say=lambda _: None,
        progress=lambda _: None,
        events=lambda event, _, **facts: noted.append((event, facts["bytes"])),
    )

    arrived: list[int] = []

    def counted(
        warm_up: str | None, folder: Path, classes: Any, models: Any, count: Callable[[int], None]
    ) -> None:
        def count_here(size: int) -> None:
            count(size)
            arrived.append(size)

        prefetch(warm_up, folder, classes, models, count_here)

    monkeypatch.setattr("rp_handler.modes.prefetch.prefetch", counted)

    async def start(enough: int) -> None:
        arrived.clear()
        async with prefetching(None, workflows, opened, listener):
            while sum(arrived) < enough:
                await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(start(60), 60))
    # It takes longer than the start.
    os.truncate(folders.roots[0] / "checkpoints/a.safetensors", _FREE // 4)
    monkeypatch.setattr("rp_handler.modes.prefetch._CHUNK_BYTES", 512)
    asyncio.run(asyncio.wait_for(start(512), 60))
    assert noted[0] == ("models_prefetched", 60)
    assert 0 < noted[1][1] < _FREE // 4
