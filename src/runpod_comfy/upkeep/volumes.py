"""The volumes of the cache and of the homes: room, links between them, and the cache's health."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from comfy_files.sizes import readable_size
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.roots import read_roots
from runpod_comfy.upkeep.answer import Answer

_FICLONE = 0x40049409
"""Linux's request to share the blocks of a file until one of the two copies is written to."""


def look_at_room(cache: Cache, home: Path, needed_bytes: int) -> list[Answer]:
    """The free room of each volume that a version goes to."""
    answers = []
    seen: set[int] = set()
    for name, path in (
        ("room for the cache", cache.root),
        ("room for homes", home),
        ("room for models", cache.models),
    ):
        place = _nearest(path)
        device = place.stat().st_dev
        if device in seen:
            continue
        seen.add(device)
        free = shutil.disk_usage(place).free
        found = f"{readable_size(free)} free at {place}"
        if free >= needed_bytes:
            answers.append(Answer(name=name, state="ok", found=found))
            continue
        answers.append(
            Answer(
                name=name,
                state="warning",
                found=found,
                remedy=f"A version with PyTorch takes about {readable_size(needed_bytes)}: make "
                "room (runpod-comfy gc), or move the cache with COMFY_CACHE_ROOT.",
            )
        )
    return answers


def look_for_links(cache: Cache, home: Path) -> list[Answer]:
    """Which kinds of links there are from the cache to where homes lie."""
    source, target = _nearest(cache.root), _nearest(home)
    if not (os.access(source, os.W_OK) and os.access(target, os.W_OK)):
        closed = source if not os.access(source, os.W_OK) else target
        return [
            Answer(
                name="links",
                state="missing",
                found=f"{closed} cannot be written",
                remedy="Check its permissions, or name another one with COMFY_CACHE_ROOT.",
            )
        ]
    with (
        tempfile.TemporaryDirectory(dir=source, prefix=".doctor-") as from_folder,
        tempfile.TemporaryDirectory(dir=target, prefix=".doctor-") as to_folder,
    ):
        probe = Path(from_folder) / "probe"
        probe.write_bytes(b"probe" * 1000)
        kinds = {
            "hard links": _works(lambda: os.link(probe, Path(to_folder) / "hard")),
            "symbolic links": _works(lambda: (Path(to_folder) / "soft").symlink_to(probe)),
            "shared blocks": _works(lambda: _clone(probe, Path(to_folder) / "clone")),
        }
    found = ", ".join(
        [*(name for name, works in kinds.items() if works)]
        + [f"no {name}" for name, works in kinds.items() if not works]
    )
    if kinds["hard links"] and kinds["symbolic links"]:
        return [Answer(name="links", state="ok", found=found)]
    same = source.stat().st_dev == target.stat().st_dev
    why = "" if same else f"{source} and {target} lie on different file systems; "
    return [
        Answer(
            name="links",
            state="warning",
            found=why + found,
            remedy="Files are copied instead, which takes more room and time. "
            "Put COMFY_CACHE_ROOT on the file system of the homes.",
        )
    ]


def look_at_cache(cache: Cache) -> list[Answer]:
    """Whether the cache can be used: a look, not a verification."""
    if not cache.root.is_dir():
        return [Answer(name="cache", state="ok", found=f"{cache.root} is not there yet")]
    if not os.access(cache.root, os.W_OK):
        return [
            Answer(
                name="cache",
                state="warning",
                found=f"{cache.root} cannot be written: only what is in it can be used",
                remedy="Check its permissions, or name another one with COMFY_CACHE_ROOT.",
            )
        ]
    problems = _lost_records(cache)
    if problems:
        return [
            Answer(
                name="cache",
                state="warning",
                found=", ".join(map(str, problems[:3])),
                remedy="These trees lack their record: remove them, they are fetched again.",
            )
        ]
    roots = len(read_roots(cache))
    leftovers = len([path for path in _children(cache.tmp) if path.suffix != ".lock"])
    found = f"{cache.root}, kept for {roots} lock(s) and folder(s)"
    if leftovers:
        # Commands at work have theirs there as well.
        found += f", {leftovers} thing(s) unfinished (gc clears what was left)"
    return [Answer(name="cache", state="ok", found=found)]


def _lost_records(cache: Cache) -> list[Path]:
    return [
        path
        for path in _children(cache.trees)
        if path.is_dir() and not path.with_name(f"{path.name}.json").is_file()
    ]


def _works(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except OSError:
        return False
    return True


def _clone(source: Path, target: Path) -> None:
    if os.uname().sysname != "Linux":
        raise OSError("not looked for here")
    with source.open("rb") as original, target.open("wb") as copy:
        fcntl.ioctl(copy.fileno(), _FICLONE, original.fileno())


def _nearest(path: Path) -> Path:
    """The folder itself, or the one in which it would be made."""
    while not path.is_dir() and path != path.parent:
        path = path.parent
    return path


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
