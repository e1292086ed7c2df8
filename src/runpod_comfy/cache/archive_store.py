"""Downloaded archives in the cache, named by their sha256 and checked while they arrive."""

from __future__ import annotations

import os
from collections.abc import Iterable
from html import escape
from pathlib import Path
from urllib.parse import quote

from comfy_errors import InvalidInputError, MismatchError
from comfy_files.files import write_hashed
from runpod_comfy.cache.paths import Cache


def find_archive(sha256: str, cache: Cache) -> Path | None:
    """The archive with this hash (64 hex digits), or None."""
    path = cache.archives / sha256
    return path if path.is_file() else None


def archive_index(project: str, file_name: str, sha256: str, cache: Cache) -> str | None:
    """The URL of a package index (PEP 503) with only this archive, under its own name, for
    installers, which need names; None if the archive is not here.

    Each archive has its own index at a fixed path: uv remembers unpacked files by their index.
    """
    if find_archive(sha256, cache) is None:
        return None
    for name in (project, file_name):
        if "/" in name or name.startswith("."):
            raise InvalidInputError(
                f"{name!a} is not a valid name of a Python distribution or its file",
                remedy="Make the lock again: runpod-comfy resolve <id>",
            )
    index = cache.named_archives / sha256
    if not (index / file_name).is_symlink():
        _make_index(index, project, file_name, sha256, cache)
    return index.as_uri()


def _make_index(index: Path, project: str, file_name: str, sha256: str, cache: Cache) -> None:
    with cache.scratch("index") as folder:
        whole = folder / "index"
        page = whole / project / "index.html"
        page.parent.mkdir(parents=True)
        link = f"../{quote(file_name)}#sha256={sha256}"
        page.write_text(f'<!DOCTYPE html><a href="{link}">{escape(file_name)}</a>\n', "utf-8")
        (whole / file_name).symlink_to(f"../../{cache.archives.name}/{sha256}")
        whole.chmod(0o755)
        index.parent.mkdir(parents=True, exist_ok=True)
        try:
            whole.rename(index)
        except OSError:
            # Another process was first, or the same bytes already have another name.
            if (index / file_name).is_symlink():
                return
            index.rename(folder / "outdated")
            whole.rename(index)


def keep_archive(
    chunks: Iterable[bytes], cache: Cache, *, where: str, expected_sha256: str | None
) -> tuple[Path, str]:
    """Writes an archive into the cache; returns its path and its sha256.

    `where` names its origin in messages. Raises MismatchError, and keeps nothing, if the bytes are
    not the expected ones.
    """
    with cache.scratch("archive") as folder:
        cache.archives.mkdir(parents=True, exist_ok=True)
        partial = folder / "archive"
        with partial.open("wb") as stream:
            found, _ = write_hashed(chunks, stream)
            os.fsync(stream.fileno())
        if expected_sha256 not in (None, found):
            raise MismatchError(
                f"{where} has sha256 {found}, but {expected_sha256} was expected",
                remedy="Try again; if this persists, the index or a proxy serves other bytes.",
            )
        partial.chmod(0o644)
        path = cache.archives / found
        partial.replace(path)
    return path, found
