"""Where a submodule comes from: `.gitmodules` of a commit, read as the hostile text it may be."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from comfy_errors import InvalidInputError
from comfy_http.redaction import without_secrets
from runpod_comfy.sources.git.process import GitFailedError
from runpod_comfy.sources.git.repository import GitRepository
from runpod_comfy.spec.text import check_repo, tree_kind

_KEY = re.compile(r"submodule\.(?P<name>.+)\.(?P<what>path|url)", re.DOTALL)


def find_submodule_url(repository: GitRepository, commit: str, path: str) -> str | None:
    """The address of the submodule at `path`, or None where `.gitmodules` names none.

    Raises InvalidInputError for an address that must not be fetched.
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
    """A relative address is one from the parent's, counted as git-submodule(1) does."""
    if not url.startswith(("./", "../")):
        is_path = url.startswith("/") and parent.startswith("file://")
        return f"file://{url}" if is_path else url
    base = parent.rstrip("/")
    while True:
        if url.startswith("../"):
            url = url.removeprefix("../")
            base = re.sub(r"[/:][^/:]*$", "", base)
        elif url.startswith("./"):
            url = url.removeprefix("./")
        else:
            break
    # What is left of `git@host:owner/repo` may have lost its only slash.
    separator = ":" if "://" not in base and ":" not in base else "/"
    return f"{base}{separator}{url}".rstrip("/")


def _allowed(url: str, parent: str, path: str) -> str:
    where = f"submodule '{path}' of {without_secrets(parent)}"
    remedy = "Use a version of it without that submodule."
    try:
        check_repo(url)
    except ValueError as error:
        raise InvalidInputError(
            f"the address of {where} ({without_secrets(url)!a}) {error}", remedy=remedy
        ) from error
    if tree_kind(url) != "git" or (url.startswith("file:") and not parent.startswith("file:")):
        raise InvalidInputError(
            f"{where} comes from {without_secrets(url)!a}, which a submodule must not",
            remedy=remedy,
        )
    if "://" in url and url.split("://")[0] != "file" and not urlsplit(url).hostname:
        raise InvalidInputError(f"the address of {where} names no host", remedy=remedy)
    return url
