"""Names of files and folders on the Hugging Face Hub: `hf://` and the addresses of its pages.

The form of `hf://` is that of huggingface_hub's HfFileSystem, the names are those that its
`validate_repo_id` accepts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args
from urllib.parse import quote, unquote, urlsplit

RepoKind = Literal["models", "datasets", "spaces"]

HUB = "https://huggingface.co"
"""Its address, which HF_ENDPOINT may replace."""

_SCHEMES = ("hf", "huggingface")
_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")
_FILE_VIEWS = ("resolve", "blob", "raw")
_FOLDER_VIEW = "tree"
_NAME = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9_]([A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
# A part of a branch's or tag's name, by the rules of git-check-ref-format.
_REVISION_PART = re.compile(r"(?![.-])(?!.*(\.\.|@\{))[^\x00-\x20~^:?*\[\\\x7f]+(?<!\.)")
# Revisions that may contain a slash without it being quoted.
_SPECIAL_REVISION = re.compile(r"@(refs/(?:convert/\w+|pr/\d+))(?=/|$)")
_FORMS = (
    "write a file as 'hf://ORGANISATION/NAME/FILE', a folder as 'hf://ORGANISATION/NAME/FOLDER/' "
    "and a whole repository as 'hf://ORGANISATION/NAME/', with '@REVISION' after the name if it is "
    "not the main branch"
)


@dataclass(frozen=True, kw_only=True)
class HubAddress:
    """A file on the Hub, or a folder of it.

    `repo` is `organisation/name`; `revision` is a branch, tag or commit, None for the main branch.
    `path` is the POSIX path of the file or folder in the repository, empty for all of it.
    """

    kind: RepoKind = "models"
    repo: str
    revision: str | None = None
    path: str
    is_folder: bool = False

    @property
    def repo_path(self) -> str:
        """The repository in the address of a page, and of a download: `datasets/org/name`."""
        return self.repo if self.kind == "models" else f"{self.kind}/{self.repo}"

    @property
    def url(self) -> str:
        """The address as `hf://…`."""
        at = "" if self.revision is None else f"@{quote(self.revision, safe='')}"
        end = "/" if self.is_folder and self.path else ""
        return f"hf://{self.repo_path}{at}/{quote(self.path)}{end}"

    @property
    def name(self) -> str:
        """The last part of the path, or of the repository's name for all of it."""
        return (self.path or self.repo).rpartition("/")[2]

    def file(self, path: str) -> HubAddress:
        """The file at `path`, relative to the repository, at this revision.

        Raises ValueError for a path that is not below this folder.
        """
        _check_path(path)
        if self.path and not path.startswith(f"{self.path}/"):
            raise ValueError(f"has the file '{path}', which is not below '{self.path}'")
        return replace(self, path=path, is_folder=False)


def hub_endpoint(variables: Mapping[str, str]) -> str:
    """The address of the Hub, or of its mirror, without a slash at its end."""
    return (variables.get("HF_ENDPOINT") or HUB).rstrip("/")


def is_hub_address(url: str, endpoint: str = HUB) -> bool:
    """Whether `url` is an `hf://` address, or one of a page of the Hub or of its mirror at
    `endpoint`.
    """
    scheme, is_url, rest = url.partition("://")
    scheme = scheme.lower()
    if scheme in ("http", "https"):
        return rest.partition("/")[0].lower() in _HOSTS or url.startswith(f"{endpoint}/")
    return bool(is_url) and scheme in _SCHEMES


def parse_hub_address(url: str, endpoint: str = HUB) -> HubAddress:
    """The file or folder that `url` names, for which `is_hub_address` holds.

    A page's address, `https://huggingface.co/org/name/blob/main/file` (also `resolve` and `raw`,
    and `tree` for a folder), means the same as `hf://org/name@main/file`. A path that ends in a
    slash is a folder. Percent signs quote characters, as in any URL. Raises ValueError with the
    end of a sentence that starts with the address.
    """
    scheme, _, rest = url.partition("://")
    if scheme.lower() not in _SCHEMES:
        below = url.removeprefix(endpoint) if url.startswith(f"{endpoint}/") else url
        return _parse_page(urlsplit(below).path)
    if "?" in rest or "#" in rest:
        raise ValueError("must not have a '?' or '#'; in a file's name, write '%3F' or '%23'")
    special = _SPECIAL_REVISION.search(rest)
    if special:
        rest = f"{rest[: special.start()]}@{quote(special[1], safe='')}{rest[special.end() :]}"
    kind, parts = _kind_of(rest.split("/"))
    if len(parts) < 3:
        raise ValueError(f"must name a file on the Hub: {_FORMS}")
    organisation, (name, at, revision), *inner = parts[0], parts[1].partition("@"), *parts[2:]
    if at and not revision:
        raise ValueError("has an '@' without a revision after it")
    return _address(kind, f"{organisation}/{name}", unquote(revision) or None, inner)


def _parse_page(path: str) -> HubAddress:
    kind, parts = _kind_of(path.removeprefix("/").split("/"))
    view = parts[2] if len(parts) > 3 else ""
    if view not in (*_FILE_VIEWS, _FOLDER_VIEW):
        raise ValueError(f"is not the page of a file on the Hub: {_FORMS}")
    inner = parts[4:]
    if view == _FOLDER_VIEW and inner[-1:] != [""]:
        inner.append("")
    return _address(kind, "/".join(parts[:2]), unquote(parts[3]), inner)


def _kind_of(parts: list[str]) -> tuple[RepoKind, list[str]]:
    for kind in get_args(RepoKind):
        if parts[0] == kind:
            return kind, parts[1:]
    return "models", parts


def _address(kind: RepoKind, repo: str, revision: str | None, inner: list[str]) -> HubAddress:
    """`inner` are the quoted parts of the path; the last one of a folder is empty."""
    if not all(_NAME.fullmatch(part) for part in repo.split("/")):
        raise ValueError(f"names no repository that the Hub can have ('{repo}'): {_FORMS}")
    if revision is not None and not _is_revision(revision):
        raise ValueError("has a revision that git does not allow")
    is_folder = inner[-1:] == [""]
    path = "/".join(map(unquote, inner[:-1] if is_folder else inner))
    if inner != [""]:
        _check_path(path)
    return HubAddress(kind=kind, repo=repo, revision=revision, path=path, is_folder=is_folder)


def _is_revision(text: str) -> bool:
    return text.isprintable() and all(map(_REVISION_PART.fullmatch, text.split("/")))


def _check_path(path: str) -> None:
    is_plain = path.isprintable() and "\\" not in path
    if not is_plain or not {"", ".", ".."}.isdisjoint(path.split("/")):
        raise ValueError("must have a path without '..', '.', '//', '\\' or control characters")
