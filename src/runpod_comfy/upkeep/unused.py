"""The parts of a cache that nothing needs, folder by folder. Read-only."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache as remembered
from functools import cached_property
from pathlib import Path
from typing import Literal

from comfy_files.files import children
from comfy_home.lock_bytes import lock_digest
from comfy_models.store import ModelStore, linked_models
from comfy_models.unused import UnusedModels, is_resumed, unused_models
from runpod_comfy.cache.paths import Cache
from runpod_comfy.sources.git.repository import KEPT, GitFailedError, run_git
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


@dataclass(frozen=True, kw_only=True)
class Unused:
    """A file or folder that nothing needs; `unknown` if this program did not make it.

    `freed_bytes` only counts what is not shared with a home or another entry.
    """

    kind: Kind
    path: Path
    freed_bytes: int = 0


class Contents:
    """A cache's contents, read once, to be compared with the needs of several roots."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.children = remembered(children)
        self.lock_digest = remembered(_lock_digest)
        self.linked_models = remembered(linked_models)

    @cached_property
    def uv(self) -> UvContents:
        return _read_uv(self.cache.uv)

    @cached_property
    def models(self) -> UnusedModels:
        """All files of the model store."""
        return unused_models(ModelStore(self.cache.models), set())

    @cached_property
    def old_tools(self) -> list[Path]:
        return _all_but_newest(self.children(self.cache.tools))


def find_unused(
    contents: Contents, needs: Needs, *, model_folders: Iterable[Path], with_models: bool
) -> list[Unused]:
    """Everything that `needs` does not name. Links below `model_folders` keep their models."""
    cache = contents.cache

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
        return None if contents.lock_digest(path) in needs.lock_digests else "lock"

    def judged(folder: Path, judge: Callable[[Path], Kind | None]) -> Iterator[Unused]:
        for path in contents.children(folder):
            if kind := judge(path):
                yield Unused(kind=kind, path=path)

    return [
        *judged(cache.environments, named("environment", _HEX_64)),
        *judged(cache.compiled, compiled),
        *judged(cache.trees, tree),
        *judged(cache.git, repository),
        *judged(cache.archives, named("archive", _HEX_64)),
        *judged(cache.named_archives, index),
        *judged(cache.checks, named("check", _CHECK)),
        *judged(cache.resolved, lock),
        *_all("Python package", _unused_in_uv(contents.uv, needs.distributions)),
        *_all("image tool", contents.old_tools),
        *(_models(contents, needs, model_folders) if with_models else ()),
        *_all("leftover", contents.children(cache.tmp)),
        # The next `verify-models` makes its own again.
        *_all("leftover", contents.children(cache.asked)),
        *_all("unknown", _of_others(contents)),
    ]


def unused_commits(cache: Cache, needs: Needs) -> dict[Path, list[str]]:
    """Unneeded commits, by git repository, in repositories with other commits that are needed."""
    return {
        path: commits
        for path in children(cache.git)
        if path in needs.commits and (commits := sorted(_kept_commits(path) - needs.commits[path]))
    }


def _all(kind: Kind, paths: Iterable[Path]) -> Iterator[Unused]:
    return (Unused(kind=kind, path=path) for path in paths)


def _kept_commits(repository: Path) -> set[str]:
    arguments = ["for-each-ref", "--format=%(refname)", KEPT]
    try:
        listed = run_git(arguments, repository=repository).decode("ascii", "replace")
    except GitFailedError:
        # The repository is broken; the next fetch fixes it or reports it.
        return set()
    return {line.removeprefix(KEPT) for line in listed.split()}


def _lock_digest(path: Path) -> str | None:
    """The lock's digest, None if the file is not a lock."""
    try:
        document = json.loads(path.read_bytes())
    except ValueError:
        return None
    return lock_digest(document) if isinstance(document, dict) else None


def _models(contents: Contents, needs: Needs, model_folders: Iterable[Path]) -> Iterator[Unused]:
    needed = needs.models.union(*map(contents.linked_models, model_folders))
    found = contents.models
    yield from _all("model", (file for file in found.files if file.name not in needed))
    downloads = needs.downloads | needed
    yield from _all("leftover", (it for it in found.leftovers if not is_resumed(it, downloads)))
    yield from _all("unknown", found.unknown)


def _of_others(contents: Contents) -> list[Path]:
    """Entries of the cache's root that are none of its folders."""
    cache = contents.cache
    own = {
        *(cache.git, cache.trees, cache.compiled, cache.archives.parent, cache.uv, cache.resolved),
        *(cache.environments, cache.checks, cache.roots, cache.tmp, cache.root / "models"),
        *(cache.loaded, cache.tools, cache.pushed, cache.logs, cache.in_use),
        *(cache.archives, cache.named_archives, cache.asked),
        # COMFY_CACHE_MODELS may name any folder in here.
        *(cache.models, *cache.models.parents),
    }
    found = [*contents.children(cache.root), *contents.children(cache.archives.parent)]
    return [path for path in found if path not in own]


def _all_but_newest(tools: Iterable[Path]) -> list[Path]:
    """Tools that earlier images were built with; the last used one of each kind and platform is
    kept.

    Names are `<kind>-<version or digest>-linux-x86_64` or the like.
    """
    found = sorted(tools, key=lambda path: path.stat().st_mtime)
    newest = {
        (path.name.partition("-")[0], path.name.partition("-linux-")[2]): path for path in found
    }
    return [path for path in found if path not in newest.values()]


@dataclass(frozen=True, kw_only=True)
class UvContents:
    """uv's cache: the distribution (normalized name, version) of each path that belongs to one, the
    target of each link, and the unpacked wheels by their real path.

    uv keeps each unpacked wheel in `archive-v<N>/<random>`, and a link to it under the wheel's name
    in `wheels-v<N>/…/<distribution>/<version>-<tags>`, with `.http`, `.rev`, `.msgpack` and `.lock`
    files beside it; what it built of an sdist is in `sdists-v<N>/…/<distribution>/<version>/`. uv
    treats missing files as not cached. If uv changes its cache layout, nothing is found here. uv's
    own commands remove all versions of a distribution or none.
    """

    distributions: dict[Path, tuple[str, str]]
    links: dict[Path, str]
    archives: dict[str, Path]


def _read_uv(root: Path) -> UvContents:
    distributions: dict[Path, tuple[str, str]] = {}
    links: dict[Path, str] = {}
    for parent, folders, files in os.walk(root):
        if parent == str(root):
            folders[:] = [name for name in folders if not name.startswith("archive-v")]
        for name in (*folders, *files):
            path = Path(parent, name)
            if path.is_symlink():
                links[path] = os.path.realpath(path)
            key = _distribution_in_uv(path, path.relative_to(root).parts)
            if key is not None:
                distributions[path] = key
    archives = {os.path.realpath(path): path for path in root.glob("archive-v*/*")}
    return UvContents(distributions=distributions, links=links, archives=archives)


def _unused_in_uv(uv: UvContents, needed: set[tuple[str, str]]) -> list[Path]:
    """Paths below uv's cache that no distribution (normalized name, version) of `needed` uses."""
    stale = {path for path, key in uv.distributions.items() if key not in needed}
    links, archives = uv.links, uv.archives
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
