"""The trees of the cache: requests, fetched trees, and the store `trees/<slug>@<commit>/` with a
record beside each entry.

An entry is immutable. It is made below `tmp/`, checked there, and renamed into its place. If two
processes make the same entry, the first wins and the other uses its result.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

from comfy_errors import InvalidInputError, MismatchError, OperationFailedError, UnavailableError
from comfy_files.files import place_folder
from comfy_files.progress import Say, say_nothing
from comfy_home.tree_hash import tree_hash
from comfy_http.redaction import without_secrets
from runpod_comfy.cache.paths import Cache

FIRST_TIME_S = 315_532_800
"""1980-01-01, the first time that a ZIP archive can store, in seconds since 1970."""

_LONGEST_SLUG = 120


@dataclass(frozen=True, kw_only=True)
class TreeRequest:
    """A tree as a spec or a lock names it; `commit` is its pin, if known."""

    repo: str
    ref: str | None = None
    commit: str | None = None
    subdir: str | None = None

    @property
    def title(self) -> str:
        """The tree in messages, without secrets."""
        return without_secrets(f"{self.repo}@{self.ref}" if self.ref else self.repo)

    @property
    def version(self) -> str:
        """The ref, for a kind that requires one. Raises InvalidInputError if there is none."""
        if self.ref is None:
            raise InvalidInputError(
                f"{self.repo} has no version", remedy=f"Add a version: {self.repo}@VERSION"
            )
        return self.ref


@dataclass(frozen=True, kw_only=True)
class FetchedSubmodule:
    """A git submodule inside a fetched tree; `path` is relative to the tree."""

    path: str
    repo: str
    commit: str


@dataclass(frozen=True, kw_only=True)
class Filling:
    """What a source reports about the files it has written.

    `epoch` is the newest commit or archive-member time in seconds since 1970.
    """

    epoch: int
    submodules: tuple[FetchedSubmodule, ...] = ()


Fill = Callable[[Path], Filling]


@dataclass(frozen=True, kw_only=True)
class FetchedTree(Filling):
    """A tree in the cache. `path` must not be written to, `tree_hash` is `tree:…`."""

    path: Path
    tree_hash: str


@dataclass(frozen=True, kw_only=True)
class FetchContext:
    """What every source needs: the cache, the folder that relative paths are based on, whether
    network access is allowed, and where to report progress.
    """

    cache: Cache
    base_dir: Path
    offline: bool = False
    say: Say = say_nothing

    def need_network(self, otherwise: str) -> None:
        """Raises UnavailableError with the message `otherwise` if network access is off."""
        if self.offline:
            raise UnavailableError(otherwise, remedy="Run the command once without --offline.")


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
            record = json.loads(_sidecar(path).read_bytes())
            submodules = tuple(FetchedSubmodule(**item) for item in record.pop("submodules"))
            return FetchedTree(path=path, submodules=submodules, **record)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OperationFailedError(
                f"the cache entry {path} has lost its record {_sidecar(path).name}",
                remedy=f"Remove the folder {path} and run the command again.",
            ) from error

    def enter(
        self, request: TreeRequest, fill: Fill, *, expected_tree_hash: str | None = None
    ) -> FetchedTree:
        """Makes the entry of a pinned request; `fill` writes the files into a folder.

        Raises InvalidInputError for a link that leads outside the tree, MismatchError if the
        content is not the expected one, OperationFailedError if the cache cannot be written.
        """
        shown = without_secrets(request.repo)
        with self.cache.scratch("tree") as bench:
            folder = bench / "tree"
            folder.mkdir(mode=0o755)
            filling = fill(folder)
            _refuse_escaping_links(folder, where=shown)
            found = tree_hash(folder)
            if expected_tree_hash not in (None, found):
                raise MismatchError(
                    f"{shown} has the content {found}, but {expected_tree_hash} was expected",
                    remedy="It changed while it was read: try again.",
                )
            path = self.path_of(request)
            # The record is written first, so that a folder under its final name always has one.
            record = bench / "record.json"
            document = {**asdict(filling), "tree_hash": found}
            record.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", "utf-8")
            path.parent.mkdir(parents=True, exist_ok=True)
            record.replace(_sidecar(path))
            place_folder(folder, path)
        return FetchedTree(path=path, tree_hash=found, **vars(filling))

    def path_of(self, request: TreeRequest) -> Path:
        """The path of the entry of a pinned request, existing or not."""
        commit = (request.commit or "").replace(":", "-")
        return self.cache.trees / f"{slug_of(request.repo, request.subdir)}@{commit}"


def slug_of(repo: str, subdir: str | None = None) -> str:
    """A readable file name for `repo` and `subdir`, unique to them.

    A slash becomes `+`; a local folder is represented by its name alone, since its pin is its
    content.
    """
    if ":" in repo:
        text = re.sub(r"\.git/?$", "", repo.removeprefix("https://"))
    else:
        text = Path(repo).name or "folder"
    parts = [*re.split(r"[/:]+", text), *(["", *subdir.split("/")] if subdir else [])]
    slug = "+".join(quote(part, safe="") for part in parts).lstrip(".+-") or "tree"
    if len(slug) > _LONGEST_SLUG:
        digest = hashlib.sha256(slug.encode()).hexdigest()[:12]
        slug = f"{slug[: _LONGEST_SLUG - 13]}-{digest}"
    return slug


def _refuse_escaping_links(folder: Path, *, where: str) -> None:
    """Raises InvalidInputError if a symbolic link below `folder` leads outside it."""
    root = os.path.realpath(folder)
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(parent, name)  # noqa: PTH118
            if not os.path.islink(path):  # noqa: PTH114
                continue
            target = os.readlink(path)  # noqa: PTH115
            inside = Path(os.path.realpath(path)).is_relative_to(root)
            if os.path.isabs(target) or not inside:  # noqa: PTH117
                raise InvalidInputError(
                    f"{where} has the symbolic link '{os.path.relpath(path, folder)}', which "
                    f"leads outside the tree (to '{target}')",
                    remedy="Use a version of it without that link.",
                )


def _sidecar(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")
