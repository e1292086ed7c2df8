"""The models of a version spec. Strict: an unknown key is an error, never ignored.

They check shape and safety of each value; `load` turns their complaints into sentences.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from runpod_comfy.spec.requirement_text import check_constraint, check_requirement
from runpod_comfy.spec.text import (
    TreeKind,
    check_date,
    check_env_name,
    check_file_path,
    check_id,
    check_index_url,
    check_inner_path,
    check_model_source,
    check_node_name,
    check_ref,
    check_repo,
    matching,
    tree_kind,
)

SCHEMA_VERSION = 2

VersionId = Annotated[str, AfterValidator(check_id)]
NodeName = Annotated[str, AfterValidator(check_node_name)]
InnerPath = Annotated[str, AfterValidator(check_inner_path)]
FilePath = Annotated[str, AfterValidator(check_file_path)]
Repo = Annotated[str, AfterValidator(check_repo)]
Ref = Annotated[str, AfterValidator(check_ref)]
ModelSource = Annotated[str, AfterValidator(check_model_source)]
EnvName = Annotated[str, AfterValidator(check_env_name)]
Checksum = Annotated[
    str,
    AfterValidator(
        matching(r"sha256:[0-9a-f]{64}", "must be 'sha256:' and 64 lower-case hex digits")
    ),
]
Commit = Annotated[
    str,
    AfterValidator(
        matching(
            r"[0-9a-f]{40}|sha256:[0-9a-f]{64}|tree:[0-9a-f]{40}",
            "must be a whole git commit (40 lower-case hex digits), "
            "'sha256:' and 64 of them, or 'tree:' and 40",
        )
    ),
]

_PINS: dict[TreeKind, tuple[int, str, str]] = {
    "git": (40, "", "a git commit of 40 hex digits"),
    "archive": (71, "sha256:", "the 'sha256:…' of the archive"),
    "pypi": (71, "sha256:", "the 'sha256:…' of the wheel or sdist"),
    "registry": (71, "sha256:", "the 'sha256:…' of the archive"),
    "folder": (45, "tree:", "the 'tree:…' hash of its content"),
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)


class Tree(_Strict):
    """Where a tree of files comes from, and its pin.

    `commit` is a 40-hex git commit, `sha256:…` of an archive or distribution,
    or `tree:…`, the git tree hash of a folder's content.
    """

    repo: Repo
    ref: Ref | None = None
    commit: Commit | None = None
    subdir: InnerPath | None = None

    @property
    def kind(self) -> TreeKind:
        return tree_kind(self.repo)

    @model_validator(mode="after")
    def _pin_suits_kind(self) -> Self:
        length, prefix, words = _PINS[self.kind]
        if self.commit and (len(self.commit) != length or not self.commit.startswith(prefix)):
            raise ValueError(f"has a 'commit' of another kind than its 'repo', which needs {words}")
        if self.ref and self.kind in ("folder", "archive"):
            raise ValueError(
                "has a 'ref', which only a git repository, 'pypi://' and 'comfy://' have"
            )
        return self


class CustomNode(Tree):
    """A custom node: a tree that becomes `custom_nodes/<name>`."""

    name: NodeName


class Model(_Strict):
    """A model file. `size` is in bytes."""

    name: Annotated[
        str, AfterValidator(matching(r"[^/\\\x00-\x1f\x7f]+", "must be a name without slashes"))
    ]
    source: ModelSource
    target_subdir: InnerPath | None = None
    target_path: FilePath | None = None
    checksum: Checksum | None = None
    mirrors: list[ModelSource] = []
    size: int | None = Field(default=None, ge=0)

    @property
    def place(self) -> str:
        """Where the file goes, as a POSIX path below the models folder."""
        if self.target_path is not None:
            return self.target_path
        return str(PurePosixPath(self.target_subdir or "") / self.name)

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.target_path is None and self.target_subdir is None:
            raise ValueError("needs a 'target_path' or a 'target_subdir'")
        if self.target_path is None and self.name in (".", ".."):
            raise ValueError("needs a 'name' that a file can have, or a 'target_path'")
        if self.target_path and self.target_subdir:
            folder = PurePosixPath(self.target_subdir)
            if folder not in PurePosixPath(self.target_path).parents:
                raise ValueError(
                    f"has a 'target_path' ({self.target_path}) that is not below its "
                    f"'target_subdir' ({self.target_subdir})"
                )
        return self


class TorchOptions(_Strict):
    """`version` pins torch, and with it its family; `index` is where the family comes from."""

    version: (
        Annotated[
            str,
            AfterValidator(
                matching(
                    r"\d+\.\d+(\.\d+)?",
                    "must be a version such as '2.11.0'; 'options.torch.index' chooses the build",
                )
            ),
        ]
        | None
    ) = None
    index: Annotated[str, AfterValidator(check_index_url)] | None = None


class Options(_Strict):
    """What a person may set; every field is optional."""

    python: (
        Annotated[
            str,
            AfterValidator(matching(r"3\.\d{1,2}", "must be a minor version such as '3.11'")),
        ]
        | None
    ) = None
    base: str | None = None
    torch: TorchOptions = TorchOptions()
    constraints: list[Annotated[str, AfterValidator(check_constraint)]] = []
    overrides: list[Annotated[str, AfterValidator(check_requirement)]] = []
    system_packages: list[
        Annotated[
            str,
            AfterValidator(
                matching(r"[a-z0-9][a-z0-9+.-]*", "must be the name of a Debian package")
            ),
        ]
    ] = []
    comfy_args: list[str] = []
    run_install_scripts: list[str] = []
    allow_pickle: list[str] = []
    user: str | None = None
    platforms: list[Literal["linux-x86_64", "linux-aarch64", "macos-arm64"]] = []
    as_of: Annotated[str, AfterValidator(check_date)] | None = None


class Spec(_Strict):
    """A whole version spec, as in `versions/<id>.json`."""

    schema_version: Literal[2]
    version_id: VersionId
    comfy: Tree
    custom_nodes: list[CustomNode] = []
    models: list[Model] = []
    env: dict[EnvName, str] = {}
    options: Options = Options()
