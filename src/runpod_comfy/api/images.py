"""Versions as images: building and pushing them, and running workflows in their containers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from comfy_errors import ComfyError, InvalidInputError, MismatchError, UnavailableError
from comfy_files.json_file import parse_json
from comfy_files.progress import Progress, Say, say_nothing
from comfy_files.user_paths import expanded
from comfy_home.layout import OBJECT_INFO_NAME, find_home
from comfy_home.output_modes import BY_OPTION, BY_VARIABLE
from comfy_home.platforms import DEFAULT_PLATFORM, PLATFORMS
from comfy_models.links import ModelFolders
from comfy_models.store import ModelStore
from comfy_workflows.folder import workflow_files
from comfy_workflows.node_inputs import object_info_in
from rp_handler.outputs.modes import check_output_mode, settings_of
from rp_handler.run_request import DEFAULT_OUTPUT_DIR, DEFAULT_OUTPUT_MODE, asks_for_provenance
from rp_handler.variables import IMAGE_VARIABLE
from runpod_comfy.api.arguments import checked
from runpod_comfy.api.versions import fetch_context_for, keep_cache_for, select
from runpod_comfy.api.workspace import (
    StrPath,
    as_path,
    find_models_dir,
    find_project,
    version_id_of,
)
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.homes.home import Home
from runpod_comfy.homes.models import bring_models
from runpod_comfy.images import image_paths
from runpod_comfy.images.base.catalogue import find_base
from runpod_comfy.images.build import ImageJob, image_tags
from runpod_comfy.images.build import build_image as build_job
from runpod_comfy.images.docker.build_progress import BuildShow, BuildStep
from runpod_comfy.images.docker.connection import connect
from runpod_comfy.images.docker.local_images import inspect_image, read_image_file
from runpod_comfy.images.docker.run_container import ContainerRun, may_have_gpus, run_container
from runpod_comfy.images.registry.names import DEFAULT_REPOSITORY, check_tag, pushed_names
from runpod_comfy.images.registry.push import (
    PushRecord,
    PushShow,
    record_push,
    temporary_tag,
)
from runpod_comfy.images.registry.push import push as push_image
from runpod_comfy.images.show import BuiltImage, find_built, manifest_in
from runpod_comfy.lock.model import Lock

if TYPE_CHECKING:
    from comfy_workflows.compare.run import Device


@dataclass(frozen=True, kw_only=True)
class BuiltVersion:
    """A built image: its id on the engine, its names, and a report of the build."""

    version_id: str
    lock_digest: str
    image: str
    tags: list[str]
    steps: list[BuildStep]


@checked
def build_image(
    version_id: str | None = None,
    *,
    spec: StrPath | None = None,
    lock: StrPath | None = None,
    base: str | None = None,
    platform: str | None = None,
    tag: str | None = None,
    network: str | None = None,
    ca_bundle: StrPath | None = None,
    no_cache: bool = False,
    offline: bool = False,
    project: StrPath | None = None,
    say: Say = say_nothing,
    explain: Say = say_nothing,
    show: BuildShow | None = None,
) -> BuiltVersion:
    """Builds the image of a version on the engine that Docker's settings name, with the project's
    workflows; resolves the version first if no lock matches its spec.

    `base` is a name of `images/bases.json` or an image (the spec's `options.base`, then `cpu`),
    `platform` `linux-x86_64` or `linux-aarch64`, also as Docker writes them. The image is called
    `tag` (`runpod-comfy:<id>`), and by its lock's digest. `network` is that of the build's steps,
    `ca_bundle` a file of certificates that they trust. `no_cache` runs every step again. Raises
    what `resolve` raises; DockerUnavailableError without an engine, InvalidInputError for an
    invalid name, BuildFailedError with the end of the failing layer's output.
    """
    if tag is not None:
        check_tag(tag)
    _certificates(ca_bundle)
    client = connect()
    job = find_image_job(
        version_id,
        spec=spec,
        lock=lock,
        base=base,
        platform=platform,
        network=network,
        ca_bundle=ca_bundle,
        offline=offline,
        project=project,
        say=say,
        explain=explain,
    )
    tags = image_tags(job.lock, tag=tag)
    outcome = build_job(job, client, tags=tags, show=show or BuildShow(), no_cache=no_cache)
    return BuiltVersion(
        version_id=job.lock.version_id,
        lock_digest=job.lock.digest,
        image=outcome.image_id,
        tags=tags,
        steps=list(outcome.steps),
    )


def find_image_job(
    version_id: str | None = None,
    *,
    spec: StrPath | None = None,
    lock: StrPath | None = None,
    base: str | None = None,
    platform: str | None = None,
    network: str | None = None,
    ca_bundle: StrPath | None = None,
    offline: bool = False,
    project: StrPath | None = None,
    say: Say = say_nothing,
    explain: Say = say_nothing,
) -> ImageJob:
    """The build that these arguments ask for, without running it."""
    certificates = _certificates(ca_bundle)
    selected = select(
        version_id,
        spec=spec,
        lock=lock,
        project=project,
        offline=offline,
        say=say,
        explain=explain,
    )
    fetch_context = fetch_context_for(selected.base_dir, offline=offline, say=say)
    keep_cache_for(selected, fetch_context.cache, say)
    return image_job(
        selected.lock,
        fetch_context,
        base=base,
        platform=platform,
        network=network,
        ca_bundle=certificates,
        project=project,
    )


def image_job(
    lock: Lock,
    fetch_context: FetchContext,
    *,
    base: str | None,
    platform: str | None = None,
    network: str | None,
    ca_bundle: StrPath | None,
    project: StrPath | None,
) -> ImageJob:
    """The build of a lock's image, with the workflows of the project. Raises InvalidInputError."""
    return ImageJob(
        lock=lock,
        base=find_base(lock, asked=base),
        platform=platform_name(platform),
        fetch_context=fetch_context,
        workflows=workflow_files(find_project(project) / "workflows"),
        ca_bundle=_certificates(ca_bundle),
        network=network,
    )


def _certificates(ca_bundle: StrPath | None) -> Path | None:
    certificates = as_path(ca_bundle)
    if certificates is not None and not certificates.is_file():
        raise InvalidInputError(
            f"there is no certificate bundle at {certificates}",
            remedy="Name a file of certificates in PEM format.",
        )
    return certificates


def platform_name(platform: str | None) -> str:
    """The name of a platform, also from Docker's notation; `linux-x86_64` by default."""
    asked = platform or DEFAULT_PLATFORM
    return next((each.name for each in PLATFORMS.values() if each.docker == asked), asked)


@checked
def push(
    version_id: str | None = None,
    *,
    registry: str | None = None,
    tag: str | None = None,
    spec: StrPath | None = None,
    project: StrPath | None = None,
    say: Say = say_nothing,
    explain: Say = say_nothing,
    show: PushShow | None = None,
) -> list[PushRecord]:
    """Pushes the image of a version, or the one called `tag`, under its own tag and by its lock.

    `registry` is where to, with the account there: `ghcr.io/me`; by default what the tag names. The
    login is that of `docker login`. Raises UnavailableError if the image does not exist or the
    registry cannot be reached, InvalidInputError for an image of another program,
    OperationFailedError if the registry refuses.
    """
    folder = find_project(project)
    cache = Cache.from_environment()
    name = tag or f"{DEFAULT_REPOSITORY}:{version_id_of(version_id)}"
    client = connect()
    built = find_built(client, name, option="--tag")
    names = pushed_names(
        built.reference, registry, version_id=built.version_id, lock_digest=built.lock_digest
    )
    _warn_of_another_lock(built, spec, folder, say, explain)
    records = []
    for name in names:
        say(f"Pushing {name}")
        with temporary_tag(client, built.image_id, name):
            pushed = push_image(client, name, show=show or PushShow())
        record = PushRecord(
            pushed=pushed,
            version_id=built.version_id,
            lock_digest=built.lock_digest,
            image_id=built.image_id,
        )
        with cache.using(say):
            explain(f"Recorded in {record_push(cache, record)}")
        records.append(record)
    return records


def _warn_of_another_lock(
    built: BuiltImage, spec: StrPath | None, project: Path, say: Say, explain: Say
) -> None:
    """Warns if the image was built from another lock than the current one; it is pushed anyway."""
    try:
        lock = select(
            built.version_id, spec=spec, project=project, offline=True, say=say, explain=explain
        ).lock
    except ComfyError as error:
        explain(f"Not compared with a lock: {error.message}")
        return
    if lock.digest != built.lock_digest:
        say(
            f"Warning: {built.reference} was not built from the current lock of "
            f"{built.version_id}; rebuild it with: runpod-comfy image build {built.version_id}"
        )


def node_classes_of_image(image: str) -> dict[str, Any] | None:
    """The `/object_info` of the version in an image, as recorded by its build; None without one.

    Raises DockerUnavailableError, OperationFailedError if the engine cannot read it, and
    InvalidInputError if it is broken.
    """
    recorded = read_image_file(connect(), image, f"{image_paths.HOME}/{OBJECT_INFO_NAME}")
    if recorded is None:
        return None
    title = f"the record of node classes in {image}"
    remedy = "Build the image again: runpod-comfy image build ID"
    return object_info_in(parse_json(recorded, title, remedy=remedy), title, remedy=remedy)


def device_of_image(image: str) -> Device | None:
    """What a run in a container of an image computes on; None if only the run will show it.

    Raises DockerUnavailableError, UnavailableError if the engine has no such image,
    InvalidInputError for one of another program, and OperationFailedError.
    """
    # Imported late: it brings numpy.
    from comfy_workflows.compare.run import Device

    client = connect()
    find_built(client, image)
    if may_have_gpus(client):
        manifest = manifest_in(client, image)
        if manifest is None or "--cpu" not in manifest.comfy_args:
            return None
    found = inspect_image(client, image)
    platform = platform_name(f"{found['Os']}/{found['Architecture']}")
    return Device(name="cpu", type="cpu", platform=platform)


def run_image(
    version_id: str | None = None,
    *,
    workflow: Path,
    output: str | None = None,
    output_dir: Path | None = None,
    models_dir: Path | None = None,
    timeout_s: float | None = None,
    image: str | None = None,
    spec: StrPath | None = None,
    lock: StrPath | None = None,
    project: StrPath | None = None,
    as_json: bool = False,
    verbose: bool = False,
    provenance: bool = False,
    node_hashes: bool = False,
    out: BinaryIO,
    err: BinaryIO,
    say: Say = say_nothing,
    explain: Say = say_nothing,
) -> int:
    """Runs a workflow in a container of a version's image, passing the handler's output to `out`
    and `err`; returns its exit code. With `as_json` the handler prints the result as one document.

    The container sees the workflow, the model store, `models_dir` and the outputs folder, and can
    only write to the last. Models that are not in the store are fetched first. `timeout_s`,
    `as_json`, `verbose`, `provenance` and `node_hashes` are the handler's. Raises MismatchError for
    an image that was not built from the version's lock.
    """
    workflow = expanded(workflow)
    if not workflow.is_file():
        raise UnavailableError(
            f"there is no workflow at {workflow}", remedy="Name a file with --workflow."
        )
    has_provenance = provenance or asks_for_provenance(os.environ)
    version_id = version_id_of(version_id)
    client = connect()
    built = find_built(client, image or f"{DEFAULT_REPOSITORY}:{version_id}")
    selected = select(version_id, spec=spec, lock=lock, project=project, say=say, explain=explain)
    if built.lock_digest != selected.lock.digest:
        raise MismatchError(
            f"{built.reference} was not built from the lock of {version_id}",
            remedy=f"Build it again: runpod-comfy image build {version_id}",
        )
    cache = Cache.from_environment()
    shared_models = find_models_dir(models_dir)
    home = Home(root=find_home(version_id, None, os.environ))
    folders = ModelFolders(
        store=ModelStore(cache.models), shared=shared_models or home.models, home=home.models
    )
    mode = check_output_mode(
        output or os.environ.get("OUTPUT_MODE") or DEFAULT_OUTPUT_MODE,
        os.environ,
        instead=BY_OPTION if output else BY_VARIABLE,
    )
    outputs = expanded(output_dir or DEFAULT_OUTPUT_DIR).absolute()
    with cache.using(say):
        bring_models(
            selected.lock.models, folders, base_dir=selected.base_dir, say=say, progress=Progress()
        )
        cache.models.mkdir(parents=True, exist_ok=True)
        settings, key_files = settings_of(mode, os.environ)
        readable = [workflow.absolute(), cache.models, *key_files]
        variables = {**settings, "COMFY_CACHE_MODELS": str(cache.models)}
        # A container cannot learn which image it runs.
        variables[IMAGE_VARIABLE] = built.digest
        if shared_models is not None and shared_models.is_dir():
            readable.append(shared_models)
            variables["MODELS_DIR"] = str(shared_models)
        if mode == "files":
            outputs.mkdir(parents=True, exist_ok=True)
        run = ContainerRun(
            image=built.reference,
            arguments=[
                *("--version-id", version_id, "--workflow", str(workflow.absolute())),
                *("--output", mode, "--output-dir", str(outputs)),
                *(("--timeout", str(timeout_s)) if timeout_s is not None else ()),
                *(("--json",) if as_json else ()),
                *(("--verbose",) if verbose else ()),
                *(("--provenance",) if has_provenance else ()),
                *(("--node-hashes",) if node_hashes else ()),
            ],
            readable=readable,
            writable=[outputs] if mode == "files" else [],
            variables=variables,
        )
        return run_container(client, run, out=out, err=err)
