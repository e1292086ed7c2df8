"""The format of a bundle: a tar file whose bytes are fully determined by its index and parts.

`bundle.json`, the index, comes first and lists each entry with its size and sha256. Headers only
vary in name and size, so a reader can compare them byte by byte and never has to parse hostile
ones.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import NonNegativeInt

from comfy_files.files import digest_of
from comfy_files.json_model import Strict
from comfy_http.redaction import without_secrets
from runpod_comfy.lock.model import DistributionFile, Lock, LockedTree

BUNDLE_VERSION: Final = 3
END = bytes(2 * tarfile.BLOCKSIZE)
"""The end of a tar file (POSIX.1-1988)."""

INDEX = "bundle.json"
LOCK = "lock.json"
SPEC = "spec.json"


class Entry(Strict):
    """One file of the bundle. `size` is in bytes, `sha256` 64 hex digits."""

    path: str
    size: NonNegativeInt
    sha256: str

    @property
    def header(self) -> bytes:
        """The tar header: a plain file of mode 644, owned by root, from 1970."""
        member = tarfile.TarInfo(self.path)
        member.size = self.size
        return member.tobuf(tarfile.GNU_FORMAT)

    @property
    def padding(self) -> bytes:
        """The zeros after the content."""
        return bytes(-self.size % tarfile.BLOCKSIZE)


class Index(Strict):
    """The entries of the bundle, in their order.

    `epochs` are the newest times in the core and in each node, in seconds since 1970; a lock only
    has the overall newest. `models` says whether models are included. `handler` are the handler's
    wheels, for images, which no lock names. `digest` is `sha256:…` over everything else.
    """

    bundle_version: Literal[3] = BUNDLE_VERSION
    platform: str
    models: bool
    epochs: list[int]
    handler: list[DistributionFile] = []
    entries: list[Entry]
    digest: str = ""

    def to_bytes(self) -> bytes:
        """The index with its digest."""
        document = self.model_dump(mode="json", exclude={"digest"})
        return _canonical({**document, "digest": digest_of(_canonical(document))})

    def beginning(self) -> bytes:
        """The beginning of the file: the index as its first entry."""
        content = self.to_bytes()
        entry = Entry(path=INDEX, size=len(content), sha256="")
        return entry.header + content + entry.padding

    def size_of_bundle(self) -> int:
        """The size of the whole file in bytes."""
        sizes = (tarfile.BLOCKSIZE + each.size + len(each.padding) for each in self.entries)
        return len(self.beginning()) + sum(sizes) + len(END)


@dataclass(frozen=True, kw_only=True)
class Part:
    """What is known about an entry: its title in messages, and its sha256 and size if known."""

    title: str
    sha256: str | None = None
    size: int | None = None


@dataclass(frozen=True, kw_only=True)
class BundleSummary:
    """What a bundle holds: counts, and the total size. `wheels` are the version's, `handler_wheels`
    those that only images need. `sources` are sdists, which have to be built where they are
    installed.
    """

    version_id: str
    lock_digest: str
    platform: str
    trees: int
    wheels: int
    handler_wheels: int
    models: int
    sources: tuple[str, ...]
    size_bytes: int


def tree_path(tree: LockedTree) -> str:
    """The entry that holds the files of a tree, as a tar file."""
    return f"trees/{tree.tree_hash.removeprefix('tree:')}.tar"


def parts_of(lock: Lock, handler: Sequence[DistributionFile] = ()) -> dict[str, Part]:
    """Every entry that a bundle of this lock with these handler wheels may have, by path."""
    parts = {path: Part(title=path) for path in (LOCK, SPEC)}
    for tree in lock.trees:
        parts[tree_path(tree)] = Part(title=f"the tree of {without_secrets(tree.repo)}")
    locked = [file for each in lock.python.distributions for file in each.files]
    for file in (*handler, *locked):
        part = Part(title=file.name, sha256=file.sha256, size=file.size)
        parts[f"wheels/{file.sha256}"] = part
    for model in lock.models:
        part = Part(title=f"the model {model.name}", sha256=model.sha256, size=model.size)
        parts[f"models/{model.sha256}"] = part
    return parts


def summary_of(index: Index, lock: Lock) -> BundleSummary:
    parts = parts_of(lock)
    kinds = [entry.path.split("/")[0] for entry in index.entries]
    wheels = {entry.path for entry in index.entries if entry.path.startswith("wheels/")}
    of_version = wheels & parts.keys()
    names = sorted(parts[path].title for path in of_version)
    return BundleSummary(
        version_id=lock.version_id,
        lock_digest=lock.digest,
        platform=index.platform,
        trees=kinds.count("trees"),
        wheels=len(of_version),
        handler_wheels=len(wheels - of_version),
        models=kinds.count("models"),
        sources=tuple(name for name in names if not name.endswith(".whl")),
        size_bytes=index.size_of_bundle(),
    )


def _canonical(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
