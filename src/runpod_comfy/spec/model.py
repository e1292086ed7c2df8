"""The models of a version spec. Strict: an unknown key is an error, never ignored.

They check shape and safety of each value; `load` turns their complaints into sentences.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

SCHEMA_VERSION = 2

TreeKind = Literal["git", "archive", "pypi", "registry", "folder"]

_GIT_SCHEMES = ("https://", "http://", "ssh://", "git://", "file://")
_ARCHIVE_SUFFIXES = (".zip", ".tar.gz", ".tgz", ".whl")
_SCP_LIKE = re.compile(r"^[\w.-]+@[\w.-]+:(?!/{2})")


def _check_id(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", value):
        raise ValueError(
            "must start with a letter or digit and hold only letters, digits, '.', '_' and '-' "
            "(at most 64)"
        )
    return value


def _check_inner_path(value: str) -> str:
    """A relative POSIX path that stays inside the folder it is joined to."""
    path = PurePosixPath(value)
    if not value or "\\" in value or "\0" in value:
        raise ValueError("must be a relative path with forward slashes")
    if path.is_absolute() or re.match(r"^[A-Za-z]:", value):
        raise ValueError("must be relative, not absolute")
    if ".." in path.parts or not path.parts:
        raise ValueError("must not contain '..' or be empty")
    return path.as_posix()


def _check_checksum(value: str) -> str:
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", value):
        raise ValueError("must be 'sha256:' and 64 lower-case hex digits")
    return value


def _check_repo(value: str) -> str:
    if not value.strip() or value != value.strip():
        raise ValueError("must not be empty or start or end with a space")
    if value.startswith("-"):
        raise ValueError("must not start with '-'")
    if any(ord(character) < 32 for character in value):
        raise ValueError("must not contain control characters")
    if "::" in value.split("/", 1)[0]:
        raise ValueError("git's remote helpers ('ext::' and the like) are not allowed")
    tree_kind(value)
    return value


def _check_ref(value: str) -> str:
    if value.startswith("-") or any(ord(c) < 33 or c in "~^:?*[\\" for c in value):
        raise ValueError("is not a valid git ref or version")
    if not value or ".." in value:
        raise ValueError("is not a valid git ref or version")
    return value


def tree_kind(repo: str) -> TreeKind:
    """Which kind of tree `repo` names; see "Spec" in docs/contracts.

    Raises ValueError for a scheme that no kind uses.
    """
    if repo.startswith("pypi://"):
        return "pypi"
    if repo.startswith("comfy://"):
        return "registry"
    if repo.startswith(("https://", "http://")) and repo.endswith(_ARCHIVE_SUFFIXES):
        return "archive"
    if repo.startswith(_GIT_SCHEMES) or _SCP_LIKE.match(repo):
        return "git"
    if "://" in repo:
        raise ValueError(
            f"has the unknown scheme '{repo.split('://')[0]}://'; known are https, ssh, file, "
            "pypi, comfy, and plain paths"
        )
    return "folder"


VersionId = Annotated[str, AfterValidator(_check_id)]
InnerPath = Annotated[str, AfterValidator(_check_inner_path)]
Checksum = Annotated[str, AfterValidator(_check_checksum)]
Repo = Annotated[str, AfterValidator(_check_repo)]
Ref = Annotated[str, AfterValidator(_check_ref)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Tree(_Strict):
    """Where a tree of files comes from, and its pin.

    `commit` is a 40-hex git commit, `sha256:…` of an archive or distribution,
    or `tree:…`, the git tree hash of a folder's content.
    """

    repo: Repo
    ref: Ref | None = None
    commit: str | None = Field(
        default=None, pattern=r"^([0-9a-f]{40}|sha256:[0-9a-f]{64}|tree:[0-9a-f]{40})$"
    )
    subdir: InnerPath | None = None

    @property
    def kind(self) -> TreeKind:
        return tree_kind(self.repo)


class CustomNode(Tree):
    """A custom node: a tree that becomes `custom_nodes/<name>`."""

    name: VersionId


class Model(_Strict):
    """A model file. `target_path` is below the models folder; `size` is in bytes."""

    name: str = Field(min_length=1)
    source: str = Field(min_length=1)
    target_subdir: InnerPath | None = None
    target_path: InnerPath | None = None
    checksum: Checksum | None = None
    mirrors: list[str] = []
    size: int | None = Field(default=None, ge=0)


class TorchOptions(_Strict):
    """`version` pins torch, and with it its family; `index` is where the family comes from."""

    version: str | None = Field(default=None, pattern=r"^\d+\.\d+(\.\d+)?$")
    index: str | None = Field(default=None, pattern=r"^(https?|file)://")


class Options(_Strict):
    """What a person may set; every field is optional."""

    python: str | None = Field(default=None, pattern=r"^3\.\d{1,2}$")
    base: str | None = None
    torch: TorchOptions = TorchOptions()
    constraints: list[str] = []
    overrides: list[str] = []
    system_packages: list[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9+.-]*$")]] = []
    comfy_args: list[str] = []
    run_install_scripts: list[str] = []
    allow_pickle: list[str] = []
    user: str | None = None
    platforms: list[Literal["linux-x86_64", "linux-aarch64", "macos-arm64"]] = []


class Spec(_Strict):
    """A whole version spec, as in `versions/<id>.json`."""

    schema_version: Literal[2]
    version_id: VersionId
    comfy: Tree
    custom_nodes: list[CustomNode] = []
    models: list[Model] = []
    env: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], str] = {}
    options: Options = Options()
