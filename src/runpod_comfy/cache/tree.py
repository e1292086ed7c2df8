"""The nouns of this package: a tree asked for, a tree fetched, and what every kind can do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from comfy_files.progress import Say, say_nothing
from runpod_comfy.cache.paths import Cache


@dataclass(frozen=True, kw_only=True)
class TreeRequest:
    """A tree as a spec or a lock names it; `commit` is its pin, once known."""

    repo: str
    ref: str | None = None
    commit: str | None = None
    subdir: str | None = None


def pinned(request: TreeRequest, commit: str) -> TreeRequest:
    """The same request with its pin."""
    return replace(request, commit=commit)


@dataclass(frozen=True, kw_only=True)
class FetchedSubmodule:
    """A git submodule inside a fetched tree; `path` is relative to the tree."""

    path: str
    repo: str
    commit: str


@dataclass(frozen=True, kw_only=True)
class FetchedTree:
    """A tree in the cache. `path` must not be written to.

    `tree_hash` is `tree:…`, `epoch` the newest commit or archive-member time in seconds since 1970.
    """

    path: Path
    tree_hash: str
    epoch: int
    submodules: tuple[FetchedSubmodule, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FetchContext:
    """What every source works with: the cache, the folder that relative paths are from,
    whether the network may be asked, and where to tell of progress."""

    cache: Cache
    base_dir: Path
    offline: bool = False
    say: Say = say_nothing


class TreeSource(Protocol):
    """One kind of tree."""

    def pin(self, request: TreeRequest, fetch_context: FetchContext) -> str:
        """The commit that `request` means now. One that it has already is confirmed.

        Raises InvalidInputError if the request is malformed, UnavailableError if it names
        something that is not there or cannot be reached, MismatchError if its commit is not one
        that its ref (or its folder) has.
        """
        ...

    def fetch(self, request: TreeRequest, fetch_context: FetchContext) -> FetchedTree:
        """The files of a pinned request, from the cache or brought into it, checked."""
        ...
