"""Checks of single values in a spec: each returns the value or raises with the reason.

The messages are ends of sentences that start with the key: "must not contain '..'".
"""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator

from comfy_files.inner_path import (
    LONGEST_NAME,
    check_inner_path,
    check_path_length,
    has_control_characters,
)
from comfy_http.redaction import SECRET_PARAMETER

if TYPE_CHECKING:
    from packaging.requirements import Requirement

TreeKind = Literal["git", "archive", "pypi", "registry", "folder"]

_GIT_SCHEMES = ("https://", "http://", "ssh://", "git://", "file://")
_TREE_SCHEMES = ("pypi", "comfy", *(scheme.removesuffix("://") for scheme in _GIT_SCHEMES))
ARCHIVE_SUFFIXES = (
    *(".zip", ".whl", ".tar", ".tar.gz", ".tgz"),
    *(".tar.xz", ".txz", ".tar.bz2", ".tbz2"),
)
_SCP_LIKE = re.compile(r"^[\w.-]+@[\w.-]+:(?!/{2})")
_DISTRIBUTION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


def tree_kind(repo: str) -> TreeKind:
    """The kind of tree that `repo` names; see "Spec" in docs/contracts.

    Raises ValueError for a scheme that no kind uses.
    """
    if repo.startswith("pypi://"):
        return "pypi"
    if repo.startswith("comfy://"):
        return "registry"
    if repo.startswith(("https://", "http://", "file://")) and is_archive_name(repo):
        return "archive"
    if repo.startswith(_GIT_SCHEMES) or _SCP_LIKE.match(repo):
        return "git"
    if "://" in repo:
        scheme = repo.split("://")[0]
        if scheme != scheme.lower() and scheme.lower() in _TREE_SCHEMES:
            raise ValueError(f"must have its scheme in lower case: '{scheme.lower()}://…'")
        raise ValueError(
            f"has the unknown scheme '{repo.split('://')[0]}://'; known are https, ssh, file, "
            "pypi, comfy, and plain paths"
        )
    return "folder"


def is_archive_name(place: str) -> bool:
    """True if a URL or path has an archive's suffix; a query is ignored."""
    return place.partition("?")[0].lower().endswith(ARCHIVE_SUFFIXES)


def matching(pattern: str, complaint: str) -> AfterValidator:
    """A check that the whole value matches `pattern`."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(complaint)
        return value

    return AfterValidator(check)


def _check_length(name: str) -> str:
    if len(name.encode()) > LONGEST_NAME:
        raise ValueError(f"must not be longer than {LONGEST_NAME} bytes")
    return name


def check_repo(value: str) -> str:
    """Checks a tree's origin, so that it is safe to pass to git or to an index."""
    check_plain(value)
    if "::" in value.split("/", 1)[0]:
        raise ValueError("must not use git's remote helpers ('ext::' and the like)")
    kind = tree_kind(value)
    if kind == "folder":
        check_local_path(value)
        return value
    if "#" in value:
        raise ValueError("must not have a '#' part; use 'subdir' for a folder inside it")
    if kind == "pypi" and not _DISTRIBUTION.fullmatch(value.removeprefix("pypi://")):
        raise ValueError("must be 'pypi://' and only the name; the version goes in 'ref'")
    if kind == "registry" and not _DISTRIBUTION.fullmatch(value.removeprefix("comfy://")):
        raise ValueError("must be 'comfy://' and only the node's id; the version goes in 'ref'")
    if kind == "archive" and value.startswith("file://") and not value.startswith("file:///"):
        raise ValueError("must name a file of this machine: 'file:///' and its path")
    if kind == "archive":
        _refuse_token(value)
    if kind == "git" and not _SCP_LIKE.match(value) and urlsplit(value).netloc.startswith("-"):
        raise ValueError("must not name a host that starts with '-'")
    return value


def _refuse_token(value: str) -> str:
    if re.search(SECRET_PARAMETER, value, re.IGNORECASE):
        raise ValueError("must not contain a token or signature; put logins in ~/.netrc")
    return value


def _check_date(value: str) -> str:
    """Checks an ISO 8601 date."""
    try:
        day = date.fromisoformat(value)
    except ValueError:
        day = date.max
    if day == date.max or day.isoformat() != value:
        raise ValueError("must be a day such as '2026-11-29'")
    return value


def parsed_requirement(text: str) -> Requirement:
    """The PEP 508 requirement in `text`, if both packaging and uv accept it.

    Raises ValueError.
    """
    # Imported only if a spec uses it: most do not, and every command reads a spec.
    from packaging.requirements import Requirement
    from packaging.version import Version

    parsed = Requirement(text)
    for name in (parsed.name, *parsed.extras):
        if not _DISTRIBUTION.fullmatch(name):
            raise ValueError(f"the name '{name}' does not end with a letter or digit")
    for bound in parsed.specifier:
        # `===` may have any text, which no index has as a version; `a====1` is a mistake.
        if bound.operator == "===":
            Version(bound.version)
    if parsed.marker is not None:
        # Some valid markers have no value, such as `python_version ~= '3.*'`.
        parsed.marker.evaluate()
    return parsed


def _check_requirement(value: str) -> str:
    """Checks a PEP 508 requirement on a released distribution."""
    try:
        parsed = parsed_requirement(value)
    except ValueError as error:
        raise ValueError(f"must be a requirement such as 'numpy<2', not '{value}'") from error
    if parsed.url is not None:
        raise ValueError("must name a released version; a URL cannot be pinned")
    return value


def _check_filled(value: list[str]) -> list[str]:
    if not value:
        raise ValueError("must not be empty")
    return value


def _check_bound(value: str) -> str:
    from packaging.requirements import Requirement

    parsed = Requirement(value)
    if parsed.extras:
        raise ValueError("must not name extras: a constraint does not install anything")
    if not parsed.specifier:
        raise ValueError("must bound a version, such as 'numpy<2'")
    return value


def check_plain(value: str) -> None:
    """Checks what holds for every address and path."""
    if not value.strip() or value != value.strip():
        raise ValueError("must not be empty or start or end with a space")
    if value.startswith("-"):
        raise ValueError("must not start with '-'")
    if has_control_characters(value):
        raise ValueError("must not contain control characters")
    if _holds_secret(value):
        raise ValueError(
            "must not contain a user name or password; use git's credential helper, ~/.netrc or "
            "the token variables"
        )


def _holds_secret(value: str) -> bool:
    """A user name is part of an ssh URL, but a token in an http URL."""
    if "://" not in value:
        return False
    scheme, rest = value.split("://", 1)
    user, at, _ = rest.split("/", 1)[0].rpartition("@")
    return bool(at) and (scheme.lower() in ("http", "https") or ":" in user)


def check_local_path(value: str) -> None:
    """Checks a path of this machine, absolute or relative."""
    if value.startswith("~"):
        raise ValueError("must be a path without '~'; write the whole path")
    if "\\" in value:
        raise ValueError("must be a path with forward slashes")
    check_path_length(value)


VersionId = Annotated[
    str,
    matching(
        r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}",
        "must start with a letter or digit and contain only letters, digits, '.', '_' and '-' "
        "(at most 64)",
    ),
]
Checksum = Annotated[
    str, matching(r"sha256:[0-9a-f]{64}", "must be 'sha256:' and 64 lower-case hex digits")
]
Commit = Annotated[
    str,
    matching(
        r"(?!(?i:[0-9a-f]{7,39})$).*",
        "is a short commit: write it as 'ref', for resolve to find the whole one, or write all 40 "
        "digits",
    ),
    matching(
        r"[0-9a-f]{40}|sha256:[0-9a-f]{64}|tree:[0-9a-f]{40}",
        "must be a full git commit (40 lower-case hex digits), "
        "'sha256:' and 64 of them, or 'tree:' and 40",
    ),
]
FileName = Annotated[
    str,
    matching(r"[^/\\\x00-\x1f\x7f]+", "must be a name without slashes"),
    AfterValidator(_check_length),
]
TorchVersion = Annotated[
    str,
    matching(
        r"\d+\.\d+(\.\d+)?",
        "must be a version such as '2.11.0'; 'options.torch.index' selects the build",
    ),
]
PythonVersion = Annotated[str, matching(r"3\.\d{1,2}", "must be a minor version such as '3.11'")]
DebianPackage = Annotated[
    str, matching(r"[a-z0-9][a-z0-9+.-]*", "must be the name of a Debian package, in lower case")
]
NodeName = Annotated[
    str,
    matching(
        r"(?!__pycache__$).*(?<!\.disabled)",
        "must not be '__pycache__' or end in '.disabled': ComfyUI ignores such folders",
    ),
    matching(
        r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}",
        "must start with a letter, digit or '_' and contain only letters, digits, '.', '_' and "
        "'-' (at most 100)",
    ),
]
InnerPath = Annotated[str, AfterValidator(check_inner_path)]
Repo = Annotated[str, AfterValidator(check_repo)]
# It goes into the lock, so it must not have a login.
IndexUrl = Annotated[
    str,
    matching(r"(?i:https?|file)://[^@\s\"'\\]+", "must be an index URL without a password"),
    AfterValidator(_refuse_token),
]
Day = Annotated[str, AfterValidator(_check_date)]
# Rules of git-check-ref-format, which versions follow too.
Ref = Annotated[
    str,
    matching(
        r"(?!-)(?!.*(\.\.|@\{|//))[^\x00-\x20~^:?*\[\\\x7f]+(?<![/.])",
        "is not a valid git ref or version",
    ),
]
EnvName = Annotated[
    str,
    matching(r"[A-Za-z_][A-Za-z0-9_]*", "is not a valid name of an environment variable"),
    matching(
        r"(?!(HF|CIVITAI)_TOKEN$).*",
        "is a secret and must be set in the environment, not in a spec",
    ),
]
ImportNeed = Annotated[
    str,
    matching(
        r"gpu|env:[A-Za-z_][A-Za-z0-9_]*",
        "must be 'gpu', or 'env:NAME' for a variable such as a key",
    ),
]
DistributionName = Annotated[
    str,
    matching(_DISTRIBUTION.pattern, "must be the name of a distribution"),
]
ReleasedRequirement = Annotated[str, AfterValidator(_check_requirement)]
BuildNeeds = Annotated[list[ReleasedRequirement], AfterValidator(_check_filled)]
# A constraint bounds a distribution without requiring it.
Constraint = Annotated[ReleasedRequirement, AfterValidator(_check_bound)]
