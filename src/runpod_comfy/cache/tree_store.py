"""The cache of fetched trees: `trees/<slug>@<commit>/` and, beside it, what is known of it.

An entry is immutable. It is made below `tmp/`, checked there, and renamed into its place; of two
processes that make the same one the first wins and the other takes what it finds.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from comfy_errors import InvalidInputError, MismatchError, OperationFailedError
from comfy_files.atomic import place_folder
from comfy_http.redaction import without_secrets
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.tree import FetchedSubmodule, FetchedTree, TreeRequest
from runpod_comfy.cache.tree_hash import tree_hash

_LONGEST_SLUG = 120


@dataclass(frozen=True, kw_only=True)
class Filling:
    """What a kind says of the files it has put down. `epoch` in seconds since 1970."""

    epoch: int
    submodules: tuple[FetchedSubmodule, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TreeStore:
    """The trees below one cache."""

    cache: Cache

    def find(self, request: TreeRequest) -> FetchedTree | None:
        """The entry of a pinned request, or None."""
        path = self.path_of(request)
        if not path.is_dir():
            return None
        try:
            record: dict[str, Any] = json.loads(_sidecar(path).read_text(encoding="utf-8"))
            return FetchedTree(
                path=path,
                tree_hash=record["tree_hash"],
                epoch=record["epoch"],
                submodules=tuple(FetchedSubmodule(**item) for item in record["submodules"]),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OperationFailedError(
                f"the cache entry {path} has lost its record {_sidecar(path).name}",
                remedy=f"Remove the folder {path} and run the command again.",
            ) from error

    def enter(
        self,
        request: TreeRequest,
        fill: Callable[[Path], Filling],
        *,
        expected_tree_hash: str | None = None,
    ) -> FetchedTree:
        """Makes the entry of a pinned request; `fill` puts the files into the folder it is given.

        Raises InvalidInputError for a link that leads out of the tree, MismatchError when the
        content is not the expected one, OperationFailedError when the cache cannot be written.
        """
        with self.cache.writing(), _workbench(self.cache) as bench:
            folder = bench / "tree"
            folder.mkdir(mode=0o755)
            filling = fill(folder)
            refuse_escaping_links(folder, where=without_secrets(request.repo))
            found = tree_hash(folder)
            if expected_tree_hash is not None and found != expected_tree_hash:
                raise MismatchError(
                    f"{without_secrets(request.repo)} has the content {found}, "
                    f"but {expected_tree_hash} is asked for",
                    remedy="It changed while it was read: try again.",
                )
            path = self.path_of(request)
            # The record comes first: a folder under its final name always has one.
            record = bench / "record.json"
            record.write_text(_record(found, filling), encoding="utf-8")
            path.parent.mkdir(parents=True, exist_ok=True)
            record.replace(_sidecar(path))
            place_folder(folder, path)
        entry = self.find(request)
        if entry is None:
            raise OperationFailedError(
                f"the cache entry {path} vanished while it was made",
                remedy="Try again; something else removes files from the cache.",
            )
        return entry

    def path_of(self, request: TreeRequest) -> Path:
        """Where the entry of a pinned request lies, or would lie."""
        commit = (request.commit or "").replace(":", "-")
        return self.cache.trees / f"{slug_of(request.repo, request.subdir)}@{commit}"


def slug_of(repo: str, subdir: str | None = None) -> str:
    """A file name that tells `repo` and `subdir`, different for different ones.

    A slash becomes `+`; a local folder counts by its own name, since its pin is its content.
    """
    if "://" in repo or ":" in repo:
        text = re.sub(r"\.git/?$", "", repo.removeprefix("https://"))
    else:
        text = Path(repo).name or "folder"
    parts = [*re.split(r"[/:]+", text), *(["", *subdir.split("/")] if subdir else [])]
    slug = "+".join(quote(part, safe="") for part in parts).lstrip(".+-") or "tree"
    if len(slug) > _LONGEST_SLUG:
        digest = hashlib.sha256(slug.encode()).hexdigest()[:12]
        slug = f"{slug[: _LONGEST_SLUG - 13]}-{digest}"
    return slug


def refuse_escaping_links(folder: Path, *, where: str) -> None:
    """Raises InvalidInputError if a symbolic link below `folder` leads out of it."""
    root = os.path.realpath(folder)
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(parent, name)  # noqa: PTH118
            if not os.path.islink(path):  # noqa: PTH114
                continue
            target = os.readlink(path)  # noqa: PTH115
            real = os.path.realpath(path)
            inside = real == root or real.startswith(root + os.sep)
            if os.path.isabs(target) or not inside:  # noqa: PTH117
                inner = os.path.relpath(path, folder)
                raise InvalidInputError(
                    f"{where} holds the symbolic link '{inner}', "
                    f"which leads out of the tree (to '{target}')",
                    remedy="Use a version of it without that link.",
                )


def _sidecar(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _record(found: str, filling: Filling) -> str:
    document = {
        "tree_hash": found,
        "epoch": filling.epoch,
        "submodules": [vars(item) for item in filling.submodules],
    }
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


@contextlib.contextmanager
def _workbench(cache: Cache) -> Iterator[Path]:
    cache.tmp.mkdir(parents=True, exist_ok=True)
    bench = Path(tempfile.mkdtemp(dir=cache.tmp, prefix="tree-"))
    try:
        yield bench
    finally:
        shutil.rmtree(bench, ignore_errors=True)
