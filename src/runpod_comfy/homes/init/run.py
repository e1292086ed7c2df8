"""`init`: an unpinned ComfyUI for development: a git clone, an environment, requirements."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from comfy_errors import InvalidInputError
from comfy_home.in_use import home_alone
from comfy_home.layout import MARKER_NAME
from comfy_home.manifest import Manifest, load_manifest, save_manifest
from comfy_http.redaction import without_secrets
from runpod_comfy.cache.tree import FIRST_TIME_S
from runpod_comfy.homes.home import Home, refuse_protected, require_folder
from runpod_comfy.homes.init.core import bring_core, refuse_another_core
from runpod_comfy.homes.init.environment import (
    DEFAULT_REPO,
    Initialization,
    find_interpreter,
    has_torch,
    install_requirements,
    is_environment,
    make_environment,
    refuse_another_python,
    refuse_foreign_environment,
    require_index,
    run_step,
)
from runpod_comfy.layers.uv import outside_variables
from runpod_comfy.project import LAYER_SCRIPTS


@dataclass(frozen=True, kw_only=True)
class InitResult:
    """`changed` is false if everything already existed."""

    target: Path
    venv: Path
    changed: bool


def initialize(job: Initialization) -> InitResult:
    """Clones the core, makes its environment and installs its requirements, with the marker.

    Does nothing if that is already done, and resumes if it was interrupted. Raises
    InvalidInputError for a folder that init did not make, or that has another repository, ref or
    Python than was asked for; UnavailableError for a repository, an interpreter or an index that
    is not available, OperationFailedError else.
    """
    home = job.home
    manifest = _own_manifest(home)
    if manifest is not None and home.comfyui.is_dir():
        refuse_another_core(job)
    is_made = manifest is not None and manifest.complete and home.comfyui.is_dir()
    interpreter = find_interpreter(job.python or "python3")
    refuse_foreign_environment(job)
    keep_environment = (is_made or job.venv is not None) and is_environment(job.environment)
    if keep_environment:
        refuse_another_python(job, interpreter)
    if is_made and keep_environment and (job.install_torch == "skip" or has_torch(job.environment)):
        return InitResult(target=home.root, venv=job.environment, changed=False)
    if job.torch_index:
        require_index(job.torch_index)
    with job.cache.using(job.say) as cache_fd:
        core = None
        if not home.comfyui.exists():
            repo = job.repo or DEFAULT_REPO
            job.say(f"Cloning {without_secrets(repo)}")
            core = bring_core(repo, job.ref, job.fetch_context)
        with home_alone(home.root, job.say) as lock_fd:
            lock_fds = (lock_fd,) if cache_fd is None else (lock_fd, cache_fd)
            save_manifest(home.root, Manifest(kind="init", complete=False))
            if core is not None and not home.comfyui.exists():
                staging = home.root / ".comfy_core_staging"
                shutil.rmtree(staging, ignore_errors=True)
                core(staging)
                staging.replace(home.comfyui)
            job.say("Installing the core's requirements")
            if not keep_environment:
                make_environment(job, interpreter, lock_fds)
            install_requirements(job, lock_fds)
            job.say("Creating the folders")
            _make_folders(job, lock_fds)
            models_dir = str(home.models)
            save_manifest(home.root, Manifest(kind="init", complete=True, models_dir=models_dir))
            shutil.rmtree(home.logs, ignore_errors=True)
    return InitResult(target=home.root, venv=job.environment, changed=True)


def _own_manifest(home: Home) -> Manifest | None:
    """The marker of an earlier `init`; None for a free folder."""
    require_folder(home.root)
    manifest = load_manifest(home.root)
    if manifest is None:
        refuse_protected(home.root)
    elsewhere = "Choose another folder with --path, or remove this one first."
    if manifest is not None and manifest.kind != "init":
        raise InvalidInputError(
            f"{home.root} holds the version {manifest.version_id}", remedy=elsewhere
        )
    if manifest is None and os.path.lexists(home.comfyui):
        raise InvalidInputError(
            f"{home.comfyui} already exists without a {MARKER_NAME} file beside it, so init did "
            "not make it; it was left alone",
            remedy=elsewhere,
        )
    return manifest


def _make_folders(job: Initialization, lock_fds: Sequence[int]) -> None:
    """Runs only the models layer: mount points and extra_model_paths.yaml, as in a version."""
    with tempfile.TemporaryDirectory(prefix="runpod-comfy-init-") as folder:
        (Path(folder) / "folders.txt").touch()
        variables = {
            **outside_variables(),
            "TARGET": "host",
            "INPUTS": folder,
            "COMFY_HOME": str(job.home.root),
            "VENV": str(job.environment),
            "SOURCE_DATE_EPOCH": str(FIRST_TIME_S),
        }
        command = ["/bin/sh", str(LAYER_SCRIPTS / "models.sh")]
        run_step("making folders", command, variables, job, lock_fds)
