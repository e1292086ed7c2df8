"""The manifest: what a home (or an image) holds, stored in the marker file `.comfy_env`.

`realize` and `init` write it; `remove`, `rp_handler` and every later `realize` read it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from comfy_errors import UnavailableError
from comfy_errors.names import escaped, listed, quantity
from comfy_files.files import replace_file
from comfy_files.json_file import read_model
from comfy_files.json_model import Strict
from comfy_home.import_needs import needs_in_words, unmet_needs
from comfy_home.layout import MARKER_NAME, VENV_NAME
from comfy_home.lock_bytes import current_model
from comfy_models.model_file import ModelSource, Sha256, TargetPath


class ManifestModel(Strict):
    """A model that the version needs, below its models folder. `size` is in bytes.

    `sources` say where the file comes from, as in the lock.
    """

    target_path: TargetPath
    sha256: Sha256
    size: int = Field(ge=0)
    sources: list[ModelSource] = []

    @model_validator(mode="before")
    @classmethod
    def _of_earlier_manifests(cls, model: Any) -> Any:
        return current_model(model)


class ManifestNode(Strict):
    """A custom node of the version. `repo` is where its author can be found, None for one
    from the user's own machine. `subdir` is the folder of its repository that it is made from, and
    `requirements_above` the requirements file that lies above that folder and is not read.
    """

    name: str
    repo: str | None = None
    subdir: str | None = None
    requirements_above: str | None = None


class NotImported(Strict):
    """A node that failed to import on a machine that lacked some of its `needs`; `reason` is how it
    failed. It may be imported on another machine. One that `ends_engine` there ended ComfyUI
    itself, and is not executed where it lacks what it needs.
    """

    needs: list[str]
    reason: str
    ends_engine: bool = False

    def in_words(self, name: str) -> str:
        """The sentence about the node `name`, without a full stop."""
        return (
            f"the custom node {name} was not imported, because it needs "
            f"{needs_in_words(self.needs)}, which the machine of the check lacked ({self.reason})"
        )


class ChangedFile(Strict):
    """A file that a start of the engine, or an install script, changed. `path` is relative to the
    home, or to a part of it; `sha256` is 64 hex digits of its new content, None for a link or a
    removed file.
    """

    path: str
    change: Literal["added", "changed", "removed"]
    sha256: str | None = None


CHECK_SCHEMA = "runpod-comfy/check/4"
"""Changes when a check looks at or records something else, so that older results are not reused."""


def in_environment(files: Iterable[ChangedFile]) -> dict[str, ChangedFile]:
    """Those of the Python environment, by their paths in it."""
    inside = f"{VENV_NAME}/"
    return {file.path.removeprefix(inside): file for file in files if file.path.startswith(inside)}


class CheckReport(Strict):
    """What one normal start of the engine showed: see `rp_handler.check.run`.

    `node_classes` maps each custom node package to the node classes it registered. `folder_names`
    maps a model folder's name to directories, relative to the core's `models` folder where they lie
    below it. `flags` are the options that this core's `main.py --help` lists, with their dashes.
    `model_inputs` maps a node class and one of its inputs to the names of the core's folders whose
    files that input offers. `unmet_needs` are those of `Manifest.import_needs` that the machine did
    not meet, and `not_imported` the nodes that failed to import there. `changed` are the files of
    the home that the start wrote or removed, without the user's, models and bytecode.
    """

    comfyui_version: str
    node_classes: dict[str, list[str]]
    folder_names: dict[str, list[str]]
    flags: list[str]
    model_inputs: dict[str, dict[str, list[str]]] = {}
    unmet_needs: list[str] = []
    not_imported: dict[str, NotImported] = {}
    changed: list[ChangedFile] = []

    @property
    def changes_in_words(self) -> str:
        """One sentence for the user about what the start changed, empty if that is nothing."""
        if not self.changed:
            return ""
        paths = [f"{escaped(each.path)} ({each.change})" for each in self.changed]
        return (
            f"Starting ComfyUI changes {quantity(len(paths), 'file')} of the home: "
            f"{listed(paths, at_most=5)}"
        )


class Manifest(Strict):
    """The marker file. `layers` maps a finished layer's name to its content key.

    `complete` is true when every layer of the plan is done and the models are linked.
    `kind` is `init` for a home made by `init`, which has no lock. `cuda` is the CUDA version, say
    `13.0`, that the version's torch was built for; None for one without CUDA. `import_needs` maps
    a node to what it needs from a machine to be imported. The engine may write to a
    `writable_environment`.
    """

    manifest_version: Literal[1] = 1
    kind: Literal["version", "init"] = "version"
    version_id: str | None = None
    lock_digest: str | None = None
    complete: bool = False
    models_dir: str | None = None
    layers: dict[str, str] = {}
    models: list[ManifestModel] = []
    nodes: list[ManifestNode] = []
    import_needs: dict[str, list[str]] = {}
    env: dict[str, str] = {}
    comfy_args: list[str] = []
    cuda: str | None = None
    writable_environment: bool = False
    check: CheckReport | None = None

    @property
    def not_imported(self) -> Mapping[str, NotImported]:
        """The nodes that failed to import in the check, by name."""
        return self.check.not_imported if self.check else {}

    def needs_unmet_here(self, environment: Mapping[str, str]) -> list[str]:
        """Those of `import_needs` that this machine does not meet, with these variables, sorted."""
        needs = [need for needs in self.import_needs.values() for need in needs]
        return self.unmet_here(needs, environment)

    def unmet_here(self, needs: Iterable[str], environment: Mapping[str, str]) -> list[str]:
        """The needs that this machine does not meet for this version's engine, sorted."""
        variables = {**self.env, **environment}
        return unmet_needs(needs, arguments=self.comfy_args, environment=variables)


def load_manifest(home: Path) -> Manifest | None:
    """The manifest of `home`, or None if it has none. Raises InvalidInputError if it is broken."""
    try:
        return read_model(
            home / MARKER_NAME,
            Manifest,
            "manifest",
            remedy=f"Make it again: runpod-comfy realize ID --target {home} --repair",
        )
    except UnavailableError:
        return None


def save_manifest(home: Path, manifest: Manifest) -> None:
    """Writes the manifest into `home` atomically."""
    document = json.dumps(manifest.model_dump(mode="json"), indent=2, sort_keys=True)
    replace_file(home / MARKER_NAME, f"{document}\n".encode())
