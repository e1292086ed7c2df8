"""A realized version on disk, for the run side."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from comfy_errors import InvalidInputError, UnavailableError
from comfy_files.json_file import read_json
from comfy_files.user_paths import expanded, real
from comfy_home.layout import HomeLayout
from comfy_home.manifest import Manifest, load_manifest
from comfy_models.store import MEMORY_NAME, names_stored
from comfy_models.verify import HashMemory
from comfy_workflows.model_files import ModelFolders
from comfy_workflows.node_inputs import object_info_in


@dataclass(frozen=True, kw_only=True)
class Home(HomeLayout):
    """A realized version: its folder, its manifest and the models folder to use with it.

    `other_models` is a models folder outside the home that its `extra_model_paths.yaml` does not
    name, or None. `linked_models` is a folder of links to models found elsewhere, which takes
    precedence over all others, or None. `job_models` is a folder with the models of the running
    job, which comes last, or None. `memory_files` hold hashes of models that were verified. If it
    `is_locked`, its nodes and models were compared with its lock. `image` is the digest of the
    image whose container runs it, None outside of one or if that is not known.
    """

    manifest: Manifest
    other_models: Path | None
    linked_models: Path | None = None
    job_models: Path | None = None
    memory_files: tuple[Path, ...] = ()
    is_locked: bool = False
    image: str | None = None

    def model_folders(self) -> ModelFolders:
        """Where this version's engine looks for models, the most relevant folder first."""
        own = [self.core_models, self.models, self.shipped_models]
        roots = [self.linked_models, self.other_models, *own, self.job_models]
        check = self.manifest.check
        return ModelFolders(
            roots=[root for root in roots if root is not None],
            folders=check.folder_names if check else {},
            inputs=check.model_inputs if check else {},
        )

    def sha256_of_model(self, file: Path, *, may_read: bool = False) -> str | None:
        """The sha256 (64 hex digits) of a model file as it was verified. If it was not, or has
        changed since, the file is read where that is allowed, which is remembered, and else it is
        None.
        """
        try:
            known = self._hashes.recall(file) or names_stored(os.path.realpath(file))
            if known is None and may_read:
                known = self._hashes.hash_of(file)
                self._hashes.save()
        except OSError:
            return None
        return known

    @cached_property
    def _hashes(self) -> HashMemory:
        there = self.manifest.models_dir
        folders = [self.models, self.other_models, Path(there) if there else None]
        own = [folder / MEMORY_NAME for folder in folders if folder is not None]
        return HashMemory([*self.memory_files, *own])

    @cached_property
    def recorded_classes(self) -> dict[str, Any] | None:
        """The engine's `/object_info` as recorded by the check; None if there was no check.

        It has several megabytes, so it is read once. Raises InvalidInputError if it is broken.
        """
        what, remedy = "record of node classes", f"Delete it and realize {self.root} again."
        try:
            document = read_json(self.object_info, what, remedy=remedy)
        except UnavailableError:
            return None
        return object_info_in(document, f"the {what} {self.object_info}", remedy=remedy)


def open_home(
    path: Path,
    *,
    version_id: str,
    id_was_asked: bool,
    models_dir: Path | None = None,
    is_baked: bool = False,
) -> Home:
    """The complete version at `path`.

    `id_was_asked` is true if the user named `version_id`, false if it is the default. `models_dir`
    is the models folder to use, None for the version's own. `is_baked` is true for the home that an
    image was built with. Raises UnavailableError if no version, or an incomplete one, is realized
    there, and InvalidInputError if it is not the version that was asked for.
    """
    manifest = load_manifest(path)
    named = manifest.version_id if manifest and not id_was_asked else version_id
    remedy = (
        "The image is damaged; build it again."
        if is_baked
        else f"Run: runpod-comfy realize --version-id {named or version_id} --target {path}"
    )
    if manifest is None:
        raise UnavailableError(f"no version is realized at {path}", remedy=remedy)
    if id_was_asked and manifest.kind == "version" and manifest.version_id != version_id:
        raise InvalidInputError(
            f'{path} holds the version "{manifest.version_id}", not "{version_id}"',
            remedy="Name the home of that version with --home or COMFY_HOME, or use --version-id "
            f"{manifest.version_id}.",
        )
    if manifest.kind == "version" and not manifest.complete:
        raise UnavailableError(f"the version at {path} is not completely realized", remedy=remedy)
    home = Home(
        root=path, manifest=manifest, other_models=_other_models(path, manifest, models_dir)
    )
    for needed in (home.comfyui / "main.py", home.python):
        if not needed.exists():
            raise UnavailableError(
                f"the version at {path} is damaged: {needed} is missing", remedy=remedy
            )
    return home


def _other_models(path: Path, manifest: Manifest, models_dir: Path | None) -> Path | None:
    if models_dir is None:
        return None
    asked = expanded(models_dir).absolute()
    if real(asked) in {real(path / "models"), real(path / "ComfyUI" / "models")}:
        return None
    if not asked.is_dir():
        if manifest.models_dir and real(asked) == real(Path(manifest.models_dir)):
            # It was realized for this folder, and has no models there.
            return None
        raise UnavailableError(
            f"there is no models folder at {asked}",
            remedy="Name an existing folder with --models-dir or MODELS_DIR.",
        )
    return asked
