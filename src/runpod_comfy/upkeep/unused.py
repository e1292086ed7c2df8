"""The parts of a cache that nobody needs, folder by folder. Looks, and touches nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from comfy_home.lock_bytes import lock_digest
from comfy_models.gc import linked_models, unused_models
from comfy_models.store import ModelStore
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.use import IN_USE_NAME
from runpod_comfy.sources.git.process import GitFailedError, run_git
from runpod_comfy.upkeep.needs import Needs
from runpod_comfy.upkeep.uv_cache import unused_in_uv

UnusedKind = Literal[
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
]

_HEX_64 = re.compile(r"^[0-9a-f]{64}$")
_CHECK = re.compile(r"^sha256-[0-9a-f]{64}$")
_COMPILED = re.compile(r"^tree-([0-9a-f]{40})-(\d+\.\d+)-[0-9a-f]{8}$")
_KEPT_REFS = "refs/kept/"


@dataclass(frozen=True, kw_only=True)
class Unused:
    """A file or folder to remove."""

    kind: UnusedKind
    path: Path


@dataclass(frozen=True, kw_only=True)
class UnusedCommits:
    """Commits in a git repository of which others are needed."""

    repository: Path
    commits: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Found:
    """What can go, and `unknown` paths that this program did not make so: they stay."""

    entries: tuple[Unused, ...]
    commits: tuple[UnusedCommits, ...]
    unknown: tuple[Path, ...]


def find_unused(
    cache: Cache, needs: Needs, *, model_folders: Iterable[Path], with_models: bool
) -> Found:
    """Everything that `needs` does not name. Links below `model_folders` keep their models."""
    entries: list[Unused] = []
    unknown: list[Path] = []
    commits: list[UnusedCommits] = []

    def look(kind: UnusedKind, folder: Path, name: re.Pattern[str]) -> None:
        for path in _children(folder):
            if not name.match(path.name):
                unknown.append(path)
            elif path not in needs.paths:
                entries.append(Unused(kind=kind, path=path))

    look("environment", cache.environments, _HEX_64)
    _compiled(cache, needs, entries, unknown)
    _trees(cache, needs, entries, unknown)
    _repositories(cache, needs, entries, commits, unknown)
    look("archive", cache.archives, _HEX_64)
    _archive_indexes(cache, needs, entries)
    look("check", cache.checks, _CHECK)
    _locks(cache, needs, entries)
    entries += [
        Unused(kind="Python package", path=path)
        for path in unused_in_uv(cache.uv, needs.distributions)
    ]
    for folder in (cache.handlers, cache.tools):
        entries += [Unused(kind="image tool", path=path) for path in _all_but_newest(folder)]
    if with_models:
        _models(cache, needs, model_folders, entries, unknown)
    entries += [Unused(kind="leftover", path=path) for path in _children(cache.tmp)]
    unknown += _strangers(cache)
    return Found(entries=tuple(entries), commits=tuple(commits), unknown=tuple(unknown))


def _archive_indexes(cache: Cache, needs: Needs, entries: list[Unused]) -> None:
    """Each archive may have an index by which installers find it."""
    entries += [
        Unused(kind="leftover", path=path)
        for path in _children(cache.named_archives)
        if cache.archives / path.name not in needs.paths
    ]


def _compiled(cache: Cache, needs: Needs, entries: list[Unused], unknown: list[Path]) -> None:
    for path in _children(cache.compiled):
        match = _COMPILED.match(path.name)
        if match is None:
            unknown.append(path)
        elif (f"tree:{match.group(1)}", match.group(2)) not in needs.compiled:
            entries.append(Unused(kind="compiled tree", path=path))


def _trees(cache: Cache, needs: Needs, entries: list[Unused], unknown: list[Path]) -> None:
    """Each tree is a folder `<slug>@<commit>` and its record, that name and `.json`."""
    for path in _children(cache.trees):
        entry = path if path.is_dir() else path.with_name(path.name.removesuffix(".json"))
        if "@" not in path.name or not (path.is_dir() or path.suffix == ".json"):
            unknown.append(path)
        elif entry not in needs.paths or not entry.is_dir():
            entries.append(Unused(kind="tree", path=path))


def _repositories(
    cache: Cache,
    needs: Needs,
    entries: list[Unused],
    commits: list[UnusedCommits],
    unknown: list[Path],
) -> None:
    for path in _children(cache.git):
        if path.suffix != ".git" or not path.is_dir():
            unknown.append(path)
        elif path not in needs.commits:
            entries.append(Unused(kind="git repository", path=path))
        else:
            kept = set(_kept_commits(path))
            if unneeded := kept - needs.commits[path]:
                commits.append(UnusedCommits(repository=path, commits=tuple(sorted(unneeded))))


def _kept_commits(repository: Path) -> list[str]:
    arguments = ["for-each-ref", "--format=%(refname)", _KEPT_REFS]
    try:
        listed = run_git(arguments, repository=repository).decode("ascii", "replace")
    except GitFailedError:
        # It is of no use for anything; the next fetch mends it or says so.
        return []
    return [line.removeprefix(_KEPT_REFS) for line in listed.split()]


def _locks(cache: Cache, needs: Needs, entries: list[Unused]) -> None:
    for path in _children(cache.resolved):
        if _lock_digest(path) not in needs.lock_digests:
            entries.append(Unused(kind="lock", path=path))


def _lock_digest(path: Path) -> str | None:
    """None for what is no lock."""
    try:
        document = json.loads(path.read_bytes())
    except ValueError:
        return None
    return lock_digest(document) if isinstance(document, dict) else None


def _models(
    cache: Cache,
    needs: Needs,
    model_folders: Iterable[Path],
    entries: list[Unused],
    unknown: list[Path],
) -> None:
    linked = {sha256 for folder in model_folders for sha256 in linked_models(folder)}
    found = unused_models(ModelStore(cache.models), needs.models | linked)
    entries += [Unused(kind="model", path=path) for path in found.files]
    entries += [Unused(kind="leftover", path=path) for path in found.leftovers]
    unknown += found.unknown


def _strangers(cache: Cache) -> list[Path]:
    """What lies in the cache and is none of its folders."""
    own = {
        *(cache.git, cache.trees, cache.compiled, cache.archives.parent, cache.uv, cache.resolved),
        *(cache.environments, cache.checks, cache.roots, cache.tmp, cache.root / "models"),
        *(cache.root / "loaded", cache.handlers, cache.tools, cache.pushed),
        cache.root / IN_USE_NAME,
        # COMFY_CACHE_MODELS may name any folder in here.
        cache.models,
    }
    strangers = [path for path in _children(cache.root) if path not in own]
    archives = (cache.archives, cache.named_archives)
    strangers += [path for path in _children(cache.archives.parent) if path not in archives]
    return [path for path in strangers if path not in cache.models.parents]


def _all_but_newest(folder: Path) -> list[Path]:
    """What images were built with earlier; of each kind and platform, the last used one stays.

    Names are `<kind>-<version or digest>-linux-x86_64` or the like.
    """
    newest: dict[tuple[str, str], Path] = {}
    found = sorted(_children(folder), key=lambda path: path.stat().st_mtime)
    for path in found:
        newest[path.name.partition("-")[0], path.stem.partition("-linux-")[2]] = path
    return [path for path in found if path not in newest.values()]


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
