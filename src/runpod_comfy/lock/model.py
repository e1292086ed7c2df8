"""The pydantic models of a lock file, and its serialisation.

A lock holds no timestamps, no machine's paths and no index that the spec does not name.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from comfy_files.json_model import Strict
from comfy_home.lock_bytes import current_lock, lock_bytes, lock_digest, names_lock
from comfy_models.model_file import ModelSource, Sha256, TargetPath
from runpod_comfy.cache.tree import TreeRequest
from runpod_comfy.spec.model import Tree
from runpod_comfy.spec.values import NodeName, VersionId


class Submodule(Strict):
    """A git submodule of a tree: its path in the tree, and its commit."""

    path: str
    repo: str
    commit: str


class LockedTree(Tree):
    """A pinned tree. `tree_hash` is `tree:…` of the files as they will be on disk."""

    commit: str
    tree_hash: str
    submodules: list[Submodule] = []

    @property
    def request(self) -> TreeRequest:
        """The request for its source and the cache."""
        return TreeRequest(repo=self.repo, ref=self.ref, commit=self.commit, subdir=self.subdir)


class LockedNode(LockedTree):
    """A pinned custom node. `requirements_above` is the requirements file of its source that lies
    above `subdir`, for a node without one of its own. It is not read.
    """

    name: NodeName
    requirements_above: str | None = None


class DistributionFile(Strict):
    """A wheel or sdist that may be installed. `sha256` is 64 hex digits, `size` is in bytes."""

    name: str
    sha256: str
    size: int | None = None


class Distribution(Strict):
    """A Python distribution at one version.

    `marker` is a PEP 508 marker, or None for every platform. `requested_by` maps what asks for it
    (`core`, `spec`, `node:<name>`) to the original lines; `required_by` names the distributions
    that need it.
    """

    name: str
    version: str
    marker: str | None = None
    files: list[DistributionFile] = []
    requested_by: dict[str, list[str]] = {}
    required_by: list[str] = []


class Replaced(Strict):
    """A request that is met by something else: another torch, or another of the opencv
    or onnxruntime distributions.

    `asked_by` is a tree (`core`, `node:<name>`) or a distribution, `place` the file and line of a
    tree's request, `given` what is installed instead.
    """

    asked_by: str
    place: str | None = None
    requirement: str
    given: str


class PythonLock(Strict):
    """The Python part: a minor version, and two groups that are installed one after the other.

    Uploads after the day `as_of`, in UTC, were ignored. `cuda` is the CUDA version, say `13.0`,
    that the locked torch was built for, None for one without CUDA. `requirements` are the spec's
    own; `build_requirements` are what source distributions, by normalized name, need to be built.
    """

    version: str
    platforms: list[str]
    torch_index: str | None = None
    as_of: str | None = None
    cuda: str | None = None
    requirements: list[str] = []
    constraints: list[str] = []
    overrides: list[str] = []
    build_requirements: dict[str, list[str]] = {}
    replaced: list[Replaced] = []
    torch: list[Distribution] = []
    wheels: list[Distribution] = []

    @property
    def distributions(self) -> list[Distribution]:
        """The distributions of both groups, in installation order."""
        return [*self.torch, *self.wheels]


class _SourcedModel(Strict):
    name: str
    sources: list[ModelSource] = Field(min_length=1)
    target_path: TargetPath
    format: str


class LockedModel(_SourcedModel):
    """A pinned model file. `sha256` is 64 hex digits, `size` is in bytes.

    `target_path` is below the models folder. `hashed_on_download` is True if no host told the
    sha256: it was learnt when the file was first downloaded.
    """

    sha256: Sha256
    size: int = Field(ge=0)
    hashed_on_download: bool | None = None


class UnhashedModel(_SourcedModel):
    """A model that has to be downloaded before the lock is complete, because no host tells its
    sha256, or its size. `index` is where it belongs in the lock's `models`.
    """

    index: int = Field(ge=0)
    sha256: Sha256 | None = None
    size: int | None = Field(default=None, ge=0)


class Base(Strict):
    """The base of an image of this version."""

    image: str | None = None
    digest: str | None = None
    system_packages: list[str] = []


class Lock(Strict):
    """A whole lock. `epoch` is in seconds since 1970, used as SOURCE_DATE_EPOCH.

    `writable_environment` is True if the engine may write to its Python environment, else None.
    """

    lock_version: Literal[2]
    version_id: VersionId
    spec_digest: str
    comfy: LockedTree
    custom_nodes: list[LockedNode] = []
    python: PythonLock
    models: list[LockedModel] = []
    unhashed_models: list[UnhashedModel] = []
    base: Base = Field(default_factory=Base)
    env: dict[str, str] = {}
    comfy_args: list[str] = []
    run_install_scripts: list[str] = []
    import_needs: dict[str, list[str]] = {}
    allow_pickle: list[str] = []
    user: str | None = None
    writable_environment: bool | None = None
    epoch: int

    @model_validator(mode="before")
    @classmethod
    def _of_earlier_versions(cls, document: Any) -> Any:
        return current_lock(document) if isinstance(document, dict) else document

    @property
    def trees(self) -> list[LockedTree]:
        """The core and the nodes, in order."""
        return [self.comfy, *self.custom_nodes]

    def to_bytes(self) -> bytes:
        """The lock's canonical serialisation."""
        return lock_bytes(self.model_dump(mode="json"))

    def is_named_by(self, digest: str | None) -> bool:
        """Whether `digest` is this lock's, also as an earlier program computed it."""
        return names_lock(digest, self.model_dump(mode="json"))

    @property
    def digest(self) -> str:
        """`sha256:…` of the lock's bytes: its identity."""
        return lock_digest(self.model_dump(mode="json"))
