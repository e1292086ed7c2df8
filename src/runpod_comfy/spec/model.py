"""The pydantic models of a version spec. Strict: an unknown key is an error, never ignored.

They check the shape and safety of each value; `load` turns their errors into messages.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from comfy_files.inner_path import check_path_length
from comfy_files.json_model import Strict
from comfy_models.model_file import TargetPath
from runpod_comfy.spec import values
from runpod_comfy.spec.model_sources import SourceAddress, hub_folder
from runpod_comfy.spec.values import TreeKind, tree_kind

SCHEMA_VERSION = 2

# Such as the remembered hashes at the top of a models folder.
_OWN_NAMES = ".comfy"

# The prefix of each kind's pin, and its description.
_PINS: dict[TreeKind, tuple[str, str]] = {
    "git": ("", "a git commit of 40 hex digits"),
    "archive": ("sha256", "the 'sha256:…' of the archive"),
    "pypi": ("sha256", "the 'sha256:…' of the wheel or sdist"),
    "registry": ("sha256", "the 'sha256:…' of the archive"),
    "folder": ("tree", "the 'tree:…' hash of its content"),
}


NODE_MODELS = "node_models"
"""The folder, below the models folder, of models that lie in nodes' folders."""


class Tree(Strict):
    """Where a tree of files comes from, and its pin.

    `commit` is a 40-hex git commit, `sha256:…` of an archive or distribution,
    or `tree:…`, the git tree hash of a folder's content.
    """

    repo: values.Repo
    ref: values.Ref | None = None
    commit: values.Commit | None = None
    subdir: values.InnerPath | None = None

    @property
    def kind(self) -> TreeKind:
        return tree_kind(self.repo)

    @model_validator(mode="after")
    def _pin_suits_kind(self) -> Self:
        prefix, words = _PINS[self.kind]
        if self.commit and self.commit.rpartition(":")[0] != prefix:
            raise ValueError(f"has a 'commit' that does not fit its 'repo', which needs {words}")
        if self.ref and self.kind in ("folder", "archive"):
            raise ValueError(
                "has a 'ref', which only a git repository, 'pypi://' and 'comfy://' have"
            )
        return self


class CustomNode(Tree):
    """A custom node: a tree that becomes `custom_nodes/<name>`."""

    name: values.NodeName


class Model(Strict):
    """A model file, or a folder of the Hub, whose target is a folder too. `size` is in bytes.

    Its target is below the folder of the custom node `target_node`, or below the models folder.
    """

    name: values.FileName
    source: SourceAddress
    target_node: values.NodeName | None = None
    target_subdir: values.InnerPath | None = None
    target_path: TargetPath | None = None
    checksum: values.Checksum | None = None
    mirrors: list[SourceAddress] = []
    size: int | None = Field(default=None, ge=0)

    @property
    def is_folder(self) -> bool:
        return hub_folder(self.source) is not None

    @property
    def target(self) -> str:
        """The target, as a POSIX path below the node's folder or the models folder."""
        if self.target_path is not None:
            return self.target_path
        return str(PurePosixPath(self.target_subdir or "") / self.name)

    @property
    def place(self) -> str:
        """Where the file or folder is, as a POSIX path below the models folder."""
        return model_place(self.target_node, self.target)

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.target_path is self.target_subdir is self.target_node is None:
            raise ValueError("needs a 'target_path' or a 'target_subdir'")
        if self.target_path is None and self.name in (".", ".."):
            raise ValueError("needs a 'name' that is a valid file name, or a 'target_path'")
        if self.target_node is None and self.target.casefold().startswith(f"{NODE_MODELS}/"):
            raise ValueError(
                f"has a target below '{NODE_MODELS}', which is for models with a 'target_node'"
            )
        if self.target_node is None and self.target.casefold().startswith(_OWN_NAMES):
            raise ValueError(
                f"has a target that starts with '{_OWN_NAMES}', as only files of this program do"
            )
        check_path_length(self.place)
        if self.target_path and self.target_subdir:
            folder = PurePosixPath(self.target_subdir)
            if folder not in PurePosixPath(self.target_path).parents:
                raise ValueError(
                    f"has a 'target_path' ({self.target_path}) that is not below its "
                    f"'target_subdir' ({self.target_subdir})"
                )
        return self

    @model_validator(mode="after")
    def _fields_suit_folders(self) -> Self:
        if any(hub_folder(mirror) for mirror in self.mirrors):
            raise ValueError("has a folder among its 'mirrors', which name single files")
        of_files = {"checksum": self.checksum, "size": self.size, "mirrors": self.mirrors or None}
        found = [key for key, value in of_files.items() if value is not None]
        if self.is_folder and found:
            raise ValueError(
                f"has '{found[0]}', which only a file can have; its 'source' is a folder"
            )
        return self


def model_place(node: str | None, target: str) -> str:
    """Where a model with this target is, below the models folder."""
    return target if node is None else f"{NODE_MODELS}/{node}/{target}"


class TorchOptions(Strict):
    """`version` pins torch, and with it its family; `index` is where the family comes from."""

    version: values.TorchVersion | None = None
    index: values.IndexUrl | None = None


class Options(Strict):
    """The user's options; every field is optional.

    `requirements` are installed beside those of the core and the nodes. `build_requirements` are
    what a source distribution, by its name, needs to be built besides what it says itself.
    """

    python: values.PythonVersion | None = None
    base: str | None = None
    torch: TorchOptions = TorchOptions()
    requirements: list[values.ReleasedRequirement] = []
    constraints: list[values.Constraint] = []
    overrides: list[values.ReleasedRequirement] = []
    build_requirements: dict[values.DistributionName, values.BuildNeeds] = {}
    system_packages: list[values.DebianPackage] = []
    comfy_args: list[str] = []
    run_install_scripts: list[str] = []
    import_needs: dict[str, list[values.ImportNeed]] = {}
    allow_pickle: list[str] = []
    user: str | None = None
    platforms: list[Literal["linux-x86_64", "linux-aarch64", "macos-arm64"]] = []
    as_of: values.Day | None = None
    writable_environment: bool = False


class Spec(Strict):
    """A whole version spec, as in `versions/<id>.json`."""

    schema_version: Literal[2]
    version_id: values.VersionId
    comfy: Tree
    custom_nodes: list[CustomNode] = []
    models: list[Model] = []
    env: dict[values.EnvName, str] = {}
    options: Options = Options()

    def document(self) -> dict[str, Any]:
        """The spec as JSON, in the order of the user's guide, without unset fields."""
        return {
            "schema_version": self.schema_version,
            "version_id": self.version_id,
            "comfy": _what_is_set(self.comfy),
            "custom_nodes": [
                {"name": node.name, **_what_is_set(node)} for node in self.custom_nodes
            ],
            "models": [_what_is_set(model) for model in self.models],
            "env": self.env,
            "options": _what_is_set(self.options),
        }


def _what_is_set(model: Strict) -> dict[str, Any]:
    return model.model_dump(mode="json", exclude_defaults=True)
