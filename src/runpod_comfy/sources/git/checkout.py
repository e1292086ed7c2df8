"""The files of a commit, and of its submodules, exactly as they are in git.

Blobs are written as they are: no hooks, no filters, no line-ending conversion, so that a commit
gives the same bytes on every machine. The URLs of submodules come from the commit's `.gitmodules`,
which is treated as untrusted input.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from comfy_errors import ComfyError, InvalidInputError, OperationFailedError
from comfy_errors.names import listed, quantity
from comfy_files.files import COPY_BYTES
from comfy_files.lfs import POINTER_START
from comfy_home.tree_hash import MODULE_FILE
from comfy_http.redaction import without_secrets
from runpod_comfy.cache.tree import FetchContext, FetchedSubmodule, Filling
from runpod_comfy.sources.git.repository import GitFailedError, GitRepository, end_git, start_git
from runpod_comfy.sources.tree_writer import TreeWriter
from runpod_comfy.spec.values import check_repo, tree_kind

_DEEPEST_SUBMODULE = 8
_KEY = re.compile(r"submodule\.(?P<name>.+)\.(?P<what>path|url)", re.DOTALL)
_EXECUTABLE, _LINK, _SUBMODULE = "100755", "120000", "160000"
_FILES = ("100644", _EXECUTABLE)


@dataclass(frozen=True, kw_only=True)
class _Entry:
    mode: str
    object_id: str
    path: str


def check_out(
    repository: GitRepository,
    commit: str,
    subdir: str | None,
    fetch_context: FetchContext,
    target: Path,
    *,
    depth: int = 0,
) -> Filling:
    """Writes the files of `commit` (or of one folder in it) into the empty folder `target`.

    Submodules are fetched and written too. Raises InvalidInputError for a folder that is not in the
    commit and for hostile paths and URLs, UnavailableError for submodules that cannot be fetched.
    """
    where = without_secrets(repository.repo)
    entries = _entries(repository, commit, subdir)
    writer = TreeWriter(root=target, where=where)
    pointers = _write_files(repository, entries, writer)
    if pointers:
        named = listed(pointers, at_most=3)
        fetch_context.say(
            f"Warning: {where} has {quantity(len(pointers), 'file')} in Git LFS, "
            f"only their pointers were fetched: {named}"
        )
    epoch = int(repository.text("show", "--no-patch", "--format=%ct", commit))
    submodules: list[FetchedSubmodule] = []
    for entry in entries:
        if entry.mode == _SUBMODULE:
            full_path = f"{subdir}/{entry.path}" if subdir else entry.path
            url = find_submodule_url(repository, commit, full_path)
            if url is None:
                fetch_context.say(f"Warning: {where} has no URL for its submodule {full_path}")
                continue
            try:
                inner = _check_out_submodule(entry, url, writer, fetch_context, depth=depth)
            except ComfyError as error:
                error.within(f"submodule {full_path}")
                raise
            epoch = max(epoch, inner.epoch)
            submodules += inner.submodules
    writer.finish()
    return Filling(epoch=epoch, submodules=tuple(submodules))


def _check_out_submodule(
    entry: _Entry, url: str, writer: TreeWriter, fetch_context: FetchContext, *, depth: int
) -> Filling:
    if depth >= _DEEPEST_SUBMODULE:
        raise InvalidInputError(
            f"{writer.where} nests its submodules deeper than {_DEEPEST_SUBMODULE}",
            remedy="Use a version of it that does not.",
        )
    fetch_context.say(f"Fetching submodule {entry.path} of {writer.where}")
    repository = GitRepository.of(url, fetch_context.cache)
    repository.ensure(entry.object_id, fetch_context)
    target = writer.make_folder(entry.path)
    filling = check_out(repository, entry.object_id, None, fetch_context, target, depth=depth + 1)
    inner = (
        FetchedSubmodule(path=f"{entry.path}/{item.path}", repo=item.repo, commit=item.commit)
        for item in filling.submodules
    )
    itself = FetchedSubmodule(path=entry.path, repo=url, commit=entry.object_id)
    return Filling(epoch=filling.epoch, submodules=(itself, *inner))


def _entries(repository: GitRepository, commit: str, subdir: str | None) -> list[_Entry]:
    tree = f"{commit}:{subdir}" if subdir else commit
    try:
        output = repository.bytes_of("ls-tree", "-r", "-z", "--full-tree", tree)
    except GitFailedError as error:
        if subdir is None:
            raise
        if file := _python_file(repository, commit, subdir):
            return [file]
        folders = repository.bytes_of("ls-tree", "-d", "-z", "--name-only", "--full-tree", commit)
        names = [os.fsdecode(name) for name in folders.split(b"\0") if name]
        raise InvalidInputError(
            f"{without_secrets(repository.repo)} has no folder '{subdir}' at {commit}",
            remedy=f"Correct 'subdir'; the top level has: {listed(names, at_most=20)}.",
        ) from error
    return _listed(output)


def _python_file(repository: GitRepository, commit: str, path: str) -> _Entry | None:
    """The Python file at `path` as the only entry of a tree; None if there is none."""
    found = _listed(repository.bytes_of("ls-tree", "-z", "--full-tree", commit, "--", path))
    if not path.endswith(".py") or not found or found[0].mode not in _FILES:
        return None
    return replace(found[0], path=MODULE_FILE)


def _listed(output: bytes) -> list[_Entry]:
    """The entries in the output of `git ls-tree -z`."""
    entries = []
    for line in output.split(b"\0"):
        if line:
            description, _, path = line.partition(b"\t")
            mode, _, object_id = description.decode("ascii").split(" ")
            entries.append(_Entry(mode=mode, object_id=object_id, path=os.fsdecode(path)))
    return entries


def _write_files(repository: GitRepository, entries: list[_Entry], writer: TreeWriter) -> list[str]:
    """Writes everything but submodules; returns the paths of Git LFS pointers."""
    pointers = []
    process = start_git(["cat-file", "--batch"], repository=repository.path, interactive=True)
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        for entry in entries:
            if entry.mode == _SUBMODULE:
                continue
            process.stdin.write(f"{entry.object_id}\n".encode())
            process.stdin.flush()
            blob = _read_blob(process.stdout, entry, writer.where)
            if entry.mode == _LINK:
                writer.add_link(entry.path, os.fsdecode(b"".join(blob)))
                continue
            first = next(blob, b"")
            if first.startswith(POINTER_START):
                pointers.append(entry.path)
            writer.write_file(
                entry.path, itertools.chain([first], blob), executable=entry.mode == _EXECUTABLE
            )
    finally:
        end_git(process)
    return pointers


def _read_blob(stream: IO[bytes], entry: _Entry, where: str) -> Iterator[bytes]:
    header = stream.readline().split()
    if len(header) != 3 or header[1] != b"blob":
        raise OperationFailedError(
            f"the cached copy of {where} lacks the content of {entry.path!a}",
            remedy="Remove its folder below 'git' in the cache and run the command again.",
        )
    left = int(header[2])
    while left > 0:
        chunk = stream.read(min(left, COPY_BYTES))
        if not chunk:
            raise OperationFailedError(
                f"git exited while reading {entry.path!a} of {where}", remedy="Try again."
            )
        left -= len(chunk)
        yield chunk
    stream.read(1)


def find_submodule_url(repository: GitRepository, commit: str, path: str) -> str | None:
    """The URL of the submodule at `path`, or None if `.gitmodules` has none.

    Raises InvalidInputError for a URL that must not be fetched.
    """
    modules = _read_gitmodules(repository, commit)
    url = next((item.get("url") for item in modules.values() if item.get("path") == path), None)
    if url is None:
        return None
    return _allowed(_absolute(repository.repo, url), repository.repo, path)


def _read_gitmodules(repository: GitRepository, commit: str) -> dict[str, dict[str, str]]:
    try:
        text = repository.text("config", "--blob", f"{commit}:.gitmodules", "--list", "-z")
    except GitFailedError:
        return {}
    modules: dict[str, dict[str, str]] = {}
    for item in text.split("\0"):
        key, _, value = item.partition("\n")
        if match := _KEY.fullmatch(key):
            modules.setdefault(match["name"], {})[match["what"]] = value
    return modules


def _absolute(parent: str, url: str) -> str:
    """Resolves a relative URL against the parent's, as git-submodule(1) does."""
    if not url.startswith(("./", "../")):
        is_path = url.startswith("/") and parent.startswith("file://")
        return f"file://{url}" if is_path else url
    base = parent.rstrip("/")
    while url.startswith(("./", "../")):
        if url.startswith("../"):
            base = re.sub(r"[/:][^/:]*$", "", base)
        url = url.partition("/")[2]
    # Removing parts of `git@host:owner/repo` may have removed its only slash.
    separator = ":" if "://" not in base and ":" not in base else "/"
    return f"{base}{separator}{url}".rstrip("/")


def _allowed(url: str, parent: str, path: str) -> str:
    try:
        check_repo(url)
        if tree_kind(url) != "git" or (url.startswith("file:") and not parent.startswith("file:")):
            raise ValueError("uses a protocol that is not allowed for submodules")
        if "://" in url and not url.startswith("file:") and not urlsplit(url).hostname:
            raise ValueError("has no host")
    except ValueError as error:
        raise InvalidInputError(
            f"the URL of submodule '{path}' of {without_secrets(parent)} "
            f"({without_secrets(url)!a}) {error}",
            remedy="Use a version of it without that submodule.",
        ) from error
    return url
