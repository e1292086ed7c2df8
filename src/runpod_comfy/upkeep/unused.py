"""The parts of a cache that nothing needs, folder by folder. Read-only."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from comfy_home.lock_bytes import lock_digest
from comfy_models.store import ModelStore, linked_models
from runpod_comfy.cache.locks import IN_USE_NAME
from runpod_comfy.cache.paths import Cache, children
from runpod_comfy.sources.git.process import GitFailedError, run_git
from runpod_comfy.upkeep.needs import Needs, distribution_key

Kind = Literal[
    "environment",
    "compiled tree",
    "tree",
    "git repository",
    "archive",
    "check",
    "lock",
    "Python package",
    "model",
    "image tool",
    "leftover",
    "unknown",
]

_HEX_64 = re.compile(r"^[0-9a-f]{64}$")
_CHECK = re.compile(r"^sha256-[0-9a-f]{64}$")
_COMPILED = re.compile(r"^tree-([0-9a-f]{40})-(\d+\.\d+)-[0-9a-f]{8}$")
_KEPT_REFS = "refs/kept/"


@dataclass(frozen=True, kw_only=True)
class Unused:
    """A file or folder that nothing needs; `unknown` if this program did not make it.

    `freed_bytes` only counts what is not shared with a home or another entry.
    """

    kind: Kind
    path: Path
    freed_bytes: int = 0


def find_unused(
    cache: Cache, needs: Needs, *, model_folders: Iterable[Path], with_models: bool
) -> list[Unused]:
    """Everything that `needs` does not name. Links below `model_folders` keep their models."""

    def named(kind: Kind, name: re.Pattern[str]) -> Callable[[Path], Kind | None]:
        def judge(path: Path) -> Kind | None:
            if not name.match(path.name):
                return "unknown"
            return None if path in needs.paths else kind

        return judge

    def compiled(path: Path) -> Kind | None:
        match = _COMPILED.match(path.name)
        if match is None:
            return "unknown"
        is_needed = (f"tree:{match.group(1)}", match.group(2)) in needs.compiled
        return None if is_needed else "compiled tree"

    def tree(path: Path) -> Kind | None:
        # Each tree is a folder `<slug>@<commit>` and its record, that name and `.json`.
        entry = path if path.is_dir() else path.with_name(path.name.removesuffix(".json"))
        if "@" not in path.name or not (path.is_dir() or path.suffix == ".json"):
            return "unknown"
        return None if entry in needs.paths and entry.is_dir() else "tree"

    def repository(path: Path) -> Kind | None:
        if path.suffix != ".git" or not path.is_dir():
            return "unknown"
        return None if path in needs.commits else "git repository"

    def index(path: Path) -> Kind | None:
        # Each archive may have an index that lets installers find it.
        return None if cache.archives / path.name in needs.paths else "leftover"

    def lock(path: Path) -> Kind | None:
        return None if _lock_digest(path) in needs.lock_digests else "lock"

    return [
        *_judged(cache.environments, named("environment", _HEX_64)),
        *_judged(cache.compiled, compiled),
        *_judged(cache.trees, tree),
        *_judged(cache.git, repository),
        *_judged(cache.archives, named("archive", _HEX_64)),
        *_judged(cache.named_archives, index),
        *_judged(cache.checks, named("check", _CHECK)),
        *_judged(cache.resolved, lock),
        *_all("Python package", _unused_in_uv(cache.uv, needs.distributions)),
        *_all("image tool", _all_but_newest(cache.tools)),
        *(_models(cache, needs, model_folders) if with_models else ()),
        *_all("leftover", children(cache.tmp)),
        *_all("unknown", _of_others(cache)),
    ]


def unused_commits(cache: Cache, needs: Needs) -> dict[Path, list[str]]:
    """Unneeded commits, by git repository, in repositories with other commits that are needed."""
    return {
        path: commits
        for path in children(cache.git)
        if path in needs.commits and (commits := sorted(_kept_commits(path) - needs.commits[path]))
    }


def _judged(folder: Path, judge: Callable[[Path], Kind | None]) -> Iterator[Unused]:
    for path in children(folder):
        if kind := judge(path):
            yield Unused(kind=kind, path=path)


def _all(kind: Kind, paths: Iterable[Path]) -> Iterator[Unused]:
    return (Unused(kind=kind, path=path) for path in paths)


def _kept_commits(repository: Path) -> set[str]:
    arguments = ["for-each-ref", "--format=%(refname)", _KEPT_REFS]
    try:
        listed = run_git(arguments, repository=repository).decode("ascii", "replace")
    except GitFailedError:
        # The repository is broken; the next fetch fixes it or reports it.
        return set()
    return {line.removeprefix(_KEPT_REFS) for line in listed.split()}


def _lock_digest(path: Path) -> str | None:
    """The lock's digest, None if the file is not a lock."""
    try:
        document = json.loads(path.read_bytes())
    except ValueError:
        return None
    return lock_digest(document) if isinstance(document, dict) else None


def _models(cache: Cache, needs: Needs, model_folders: Iterable[Path]) -> Iterator[Unused]:
    linked = {sha256 for folder in model_folders for sha256 in linked_models(folder)}
    found = ModelStore(cache.models).unused(needs.models | linked)
    yield from _all("model", found.files)
    yield from _all("leftover", found.leftovers)
    yield from _all("unknown", found.unknown)


def _of_others(cache: Cache) -> list[Path]:
    """Entries of the cache's root that are none of its folders."""
    own = {
        *(cache.git, cache.trees, cache.compiled, cache.archives.parent, cache.uv, cache.resolved),
        *(cache.environments, cache.checks, cache.roots, cache.tmp, cache.root / "models"),
        *(cache.loaded, cache.tools, cache.pushed, cache.root / IN_USE_NAME),
        *(cache.archives, cache.named_archives),
        # COMFY_CACHE_MODELS may name any folder in here.
        *(cache.models, *cache.models.parents),
    }
    found = [*children(cache.root), *children(cache.archives.parent)]
    return [path for path in found if path not in own]


def _all_but_newest(folder: Path) -> list[Path]:
    """Tools that earlier images were built with; the last used one of each kind and platform is
    kept.

    Names are `<kind>-<version or digest>-linux-x86_64` or the like.
    """
    found = sorted(children(folder), key=lambda path: path.stat().st_mtime)
    newest = {
        (path.name.partition("-")[0], path.name.partition("-linux-")[2]): path for path in found
    }
    return [path for path in found if path not in newest.values()]


def _unused_in_uv(root: Path, needed: set[tuple[str, str]]) -> list[Path]:
    """Paths below uv's cache that no distribution (normalized name, version) of `needed` uses.

    uv keeps each unpacked wheel in `archive-v<N>/<random>`, and a link to it under the wheel's name
    in `wheels-v<N>/…/<distribution>/<version>-<tags>`, with `.http`, `.rev`, `.msgpack` and `.lock`
    files beside it; what it built of an sdist is in `sdists-v<N>/…/<distribution>/<version>/`. uv
    treats missing files as not cached. If uv changes its cache layout, nothing is found here. uv's
    own commands remove all versions of a distribution or none.
    """
    stale: set[Path] = set()
    links: dict[Path, str] = {}
    for parent, folders, files in os.walk(root):
        if parent == str(root):
            folders[:] = [name for name in folders if not name.startswith("archive-v")]
        for name in (*folders, *files):
            path = Path(parent, name)
            if path.is_symlink():
                links[path] = os.path.realpath(path)
            key = _distribution_in_uv(path, path.relative_to(root).parts)
            if key is not None and key not in needed:
                stale.add(path)
    archives = {os.path.realpath(path): path for path in root.glob("archive-v*/*")}
    if archives.keys().isdisjoint(links.values()):
        return sorted(stale)
    used = {target for link, target in links.items() if stale.isdisjoint((link, *link.parents))}
    return [*sorted(stale), *sorted(archives[target] for target in archives.keys() - used)]


def _distribution_in_uv(path: Path, inner: tuple[str, ...]) -> tuple[str, str] | None:
    """The distribution of a path in uv's cache, if it is a wheel or the folder of a built sdist."""
    match inner:
        case (bucket, *_, name, entry) if bucket.startswith("wheels-v") and "-" in entry:
            version = entry.split("-")[0]
            is_one = path.is_symlink() or path.is_file()
        case (bucket, "pypi", name, version) | (bucket, "index", _, name, version):
            is_one = bucket.startswith("sdists-v") and path.is_dir()
        case _:
            return None
    return distribution_key(name, version) if is_one and version[:1].isdigit() else None
