"""A cache with everything that a cache downloaded, and nothing that was built from it: trees,
bytecode, wheels of source distributions, environments and results of checks are made again in it.

It proves that what is built is the same each time.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from comfy_files.read_only import remove_tree
from runpod_comfy.cache.paths import Cache

_ARCHIVES = "archive-v"
"""In uv's cache: the folders with the files of unpacked wheels, by random names."""
_SDISTS = "sdists-v"
"""In uv's cache: source distributions, and what was built of them."""


@contextlib.contextmanager
def unbuilt_cache(cache: Cache, root: Path) -> Iterator[Cache]:
    """Makes the cache in the folder `root`, which must not exist and be on the same file system.

    `cache` has to be in use during the block, and keeps what is downloaded within it, except
    packages. What the block put elsewhere in it is removed at the end. Raises OSError.
    """
    unbuilt = Cache(root=root, models_root=cache.models)
    for shared, place in ((cache.git, unbuilt.git), (cache.root / "archives", root / "archives")):
        shared.mkdir(parents=True, exist_ok=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(shared)
    _copy_downloads(cache.uv, unbuilt.uv)
    before = _linked_archives(unbuilt.uv)
    try:
        yield unbuilt
    finally:
        for archive in _linked_archives(unbuilt.uv) - before:
            remove_tree(archive)


def _copy_downloads(uv: Path, copy: Path) -> None:
    """Copies uv's cache without what it built. The files of wheels are shared: they are many."""
    copy.mkdir()
    for bucket in sorted(uv.iterdir()) if uv.is_dir() else ():
        place = copy / bucket.name
        if bucket.name.startswith(_ARCHIVES):
            place.symlink_to(bucket)
        elif bucket.is_dir():
            built = _built if bucket.name.startswith(_SDISTS) else None
            shutil.copytree(bucket, place, symlinks=True, ignore=built)
        else:
            shutil.copyfile(bucket, place)


def _built(folder: str, names: list[str]) -> list[str]:
    """Of the names in a folder of source distributions, those that a build made: wheels, links to
    their files, and their metadata. A source may have such names too.
    """
    parts = Path(folder).parts
    sdists = next(at for at, part in enumerate(parts) if part.startswith(_SDISTS))
    if "src" in parts[sdists:]:
        return []
    return [
        name
        for name in names
        if name == "metadata.msgpack"
        or name.endswith(".whl")
        or (name != "src" and os.path.islink(os.path.join(folder, name)))  # noqa: PTH114, PTH118
    ]


def _linked_archives(uv: Path) -> set[Path]:
    """The folders of unpacked wheels that uv's cache links to."""
    found = set()
    for parent, folders, _files in os.walk(uv):
        for name in folders:
            path = Path(parent, name)
            if path.is_symlink() and not name.startswith(_ARCHIVES):
                found.add(path.resolve())
    return found
