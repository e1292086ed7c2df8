"""Reads the models of the first jobs into the machine's file cache while ComfyUI starts.

A volume is often slower than ComfyUI's start: then the first job finds them in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

from comfy_errors import ComfyError
from comfy_files.parallel import interrupted
from comfy_workflows.graph import Graph, load_workflow
from comfy_workflows.model_files import ModelFolders
from comfy_workflows.node_inputs import ObjectInfo
from comfy_workflows.used_models import used_models
from rp_handler.engine.prompt import Listener
from rp_handler.home.realized import Home
from rp_handler.interruption import in_thread
from rp_handler.job.listing import workflow_names
from rp_handler.job.request import named_workflow
from rp_handler.variables import flag

VARIABLE = "COMFY_PREFETCH_MODELS"
# Of the memory that is free: the rest is ComfyUI's own, which loads the same models.
_SHARE = 0.5
# A machine with less free memory needs it for other things.
_LEAST_FREE_BYTES = 4 * 2**30
_CHUNK_BYTES = 16 * 2**20


@contextlib.asynccontextmanager
async def prefetching(
    warm_up: str | None, workflows: Path, home: Home, listener: Listener
) -> AsyncIterator[None]:
    """Runs `prefetch` beside the block, at most until its end."""
    read_bytes = 0

    def count(size_bytes: int) -> None:
        nonlocal read_bytes
        read_bytes += size_bytes

    def read() -> None:
        # The first job needs the node classes too.
        prefetch(warm_up, workflows, home.recorded_classes or {}, home.model_folders(), count)

    reading = asyncio.ensure_future(in_thread(read))
    try:
        yield
    finally:
        reading.cancel()
        # A job that needs what cannot be read fails with the reason.
        await asyncio.gather(reading, return_exceptions=True)
        listener.note("models_prefetched", "", bytes=read_bytes)


def prefetches(variables: Mapping[str, str]) -> bool:
    """Raises InvalidInputError."""
    return flag(variables, VARIABLE, default=True)


def prefetch(
    warm_up: str | None,
    workflows: Path,
    object_info: ObjectInfo,
    folders: ModelFolders,
    count: Callable[[int], None],
) -> None:
    """Reads the models that the workflow named `warm_up` uses, else those of all in the folder
    `workflows`, until it is interrupted; `count` gets the bytes of each chunk.

    Models that do not fit into half of the free memory are left out.
    """
    free_bytes = free_memory_bytes()
    if free_bytes >= _LEAST_FREE_BYTES:
        graphs = _graphs(warm_up, workflows)
        models = [it for graph in graphs for it in used_models(graph, object_info, folders)]
        # Each file once, also if several links lead to it.
        files = dict.fromkeys(Path(os.path.realpath(model)) for model in models)
        for path in _fitting([*files], round(free_bytes * _SHARE)):
            _read(path, count)


def free_memory_bytes(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """What the machine can give to new programs, or less: what is left of the container's limit. 0
    if that is not known.
    """
    free = [_meminfo(proc / "meminfo")]
    for limit, usage in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        # There may be no limit, or another version of cgroups.
        with contextlib.suppress(OSError, ValueError):
            free.append(int((cgroups / limit).read_text()) - int((cgroups / usage).read_text()))
    return max(0, min(free))


def _meminfo(path: Path) -> int:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
        return next(int(it.split()[1]) * 1024 for it in lines if it.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return 0


def _graphs(warm_up: str | None, workflows: Path) -> list[Graph]:
    is_named = warm_up is not None and "://" not in warm_up
    names = [warm_up] if warm_up is not None and is_named else workflow_names(workflows)
    graphs = []
    for name in names:
        # If it is none, a job that names it fails with the reason.
        with contextlib.suppress(ComfyError):
            graphs.append(load_workflow(named_workflow(name, workflows)))
    return graphs


def _fitting(models: Sequence[Path], room_bytes: int) -> list[Path]:
    fitting = []
    for path in models:
        size = _size_of(path)
        if size <= room_bytes:
            room_bytes -= size
            fitting.append(path)
    return fitting


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _read(path: Path, count: Callable[[int], None]) -> None:
    """Reads a file without copying it."""
    at = 0
    # A file that cannot be read is reported where it is needed.
    with (
        contextlib.suppress(OSError),
        path.open("rb") as file,
        Path(os.devnull).open("wb") as nowhere,
    ):
        while not interrupted() and (
            sent := os.sendfile(nowhere.fileno(), file.fileno(), at, _CHUNK_BYTES)
        ):
            at += sent
            count(sent)
