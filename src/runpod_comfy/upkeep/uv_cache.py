"""What of uv's cache no lock needs.

uv keeps each unpacked wheel in `archive-v<N>/<random>`, and a link to it under the wheel's name in
`wheels-v<N>/…/<distribution>/<version>-<tags>`, with `.http`, `.rev`, `.msgpack` and `.lock` files
beside it; what it built of an sdist is in `sdists-v<N>/…/<distribution>/<version>/`.
uv takes what is not there for not cached. Where it arranges its cache otherwise, nothing is found.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from runpod_comfy.upkeep.needs import distribution_key


def unused_in_uv(root: Path, needed: set[tuple[str, str]]) -> list[Path]:
    """Paths below uv's cache that no distribution (normalized name, version) of `needed` uses."""
    stale = [
        *(path for path in _wheels(root) if _key_of_wheel(path) not in needed),
        *(path for path in _built(root) if distribution_key(*_built_of(path)) not in needed),
    ]
    return [*stale, *_unlinked_archives(root, set(stale))]


def _wheels(root: Path) -> Iterator[Path]:
    """The files and links that stand for wheels; a distribution's folder has nothing else."""
    for bucket in root.glob("wheels-v*"):
        for parent, folders, files in os.walk(bucket):
            for name in (*folders, *files):
                path = Path(parent, name)
                if "-" in name and name[0].isdigit() and (path.is_symlink() or path.is_file()):
                    yield path


def _key_of_wheel(path: Path) -> tuple[str, str]:
    return distribution_key(path.parent.name, path.name.split("-")[0])


def _built(root: Path) -> Iterator[Path]:
    for bucket in root.glob("sdists-v*"):
        # By index: `pypi/<name>/<version>` or `index/<digest>/<name>/<version>`.
        for path in (*bucket.glob("pypi/*/*"), *bucket.glob("index/*/*/*")):
            if path.is_dir() and path.name[0].isdigit():
                yield path


def _built_of(path: Path) -> tuple[str, str]:
    return path.parent.name, path.name


def _unlinked_archives(root: Path, stale: set[Path]) -> list[Path]:
    """Unpacked wheels that nothing leads to once `stale` is gone; none if nothing leads to any."""
    archives = {path for bucket in root.glob("archive-v*") for path in bucket.iterdir()}
    every: set[Path] = set()
    linked: set[Path] = set()
    for parent, folders, files in os.walk(root):
        if Path(parent) == root:
            folders[:] = [name for name in folders if not name.startswith("archive-v")]
        for name in (*folders, *files):
            path = Path(parent, name)
            if not path.is_symlink():
                continue
            target = Path(os.path.realpath(path))
            every.add(target)
            if path not in stale and not stale.intersection(path.parents):
                linked.add(target)
    real = {Path(os.path.realpath(path)): path for path in archives}
    if archives and not every.intersection(real):
        return []
    return sorted(path for target, path in real.items() if target not in linked)
