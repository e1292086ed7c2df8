"""`image run`: a workflow in a container of a version's image, as `run` does it in a home."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from comfy_errors import MismatchError, UnavailableError
from rp_handler.run_request import DEFAULT_OUTPUT_DIR, DEFAULT_OUTPUT_MODE
from runpod_comfy.cli.select.options import add_command, add_version
from runpod_comfy.cli.select.workspace import version_id_of
from runpod_comfy.cli.show.console import Console

if TYPE_CHECKING:
    from runpod_comfy.cache.paths import Cache
    from runpod_comfy.cli.select.options import Subparsers
    from runpod_comfy.cli.select.version import Selected
    from runpod_comfy.images.docker.run_container import ContainerRun

_EXAMPLES = """\
  runpod-comfy image run demo --workflow workflows/example.json
  runpod-comfy image run demo --workflow workflows/minimal.json --output base64
"""


def add_parser(actions: Subparsers) -> None:
    parser = add_command(
        actions,
        "run",
        run=_run,
        summary="Run a workflow in a container of a version's image.",
        details="The container sees the workflow, the store of models and the folder for outputs, "
        "and can write to the last one only. Models that are not in the store are brought first.",
        examples=_EXAMPLES,
    )
    add_version(parser)
    add = parser.add_argument
    add("--workflow", type=Path, metavar="FILE", required=True, help="a graph in the API format")
    add("--output", metavar="MODE", help="files or base64 (OUTPUT_MODE, then files)")
    add("--output-dir", type=Path, metavar="DIR", help="where --output files writes (outputs)")
    add("--models-dir", type=Path, metavar="DIR", help="models beside the store (MODELS_DIR)")
    add("--image", metavar="IMAGE", help="default: runpod-comfy:<id>")


def _run(arguments: argparse.Namespace) -> int:
    from runpod_comfy.cache.paths import Cache
    from runpod_comfy.cache.use import using
    from runpod_comfy.cli.select.version import select
    from runpod_comfy.images.built import find_built
    from runpod_comfy.images.docker.connection import connect
    from runpod_comfy.images.docker.run_container import run_container
    from runpod_comfy.images.registry.names import DEFAULT_REPOSITORY

    console = Console(verbose=arguments.verbose)
    if not arguments.workflow.is_file():
        raise UnavailableError(
            f"there is no workflow at {arguments.workflow}", remedy="Name a file with --workflow."
        )
    client = connect()
    version_id = version_id_of(arguments.version, arguments.version_id)
    built = find_built(client, arguments.image or f"{DEFAULT_REPOSITORY}:{version_id}")
    selected = select(
        version_id=version_id, spec=arguments.spec, lock=None, offline=False, console=console
    )
    if built.lock_digest != selected.lock.digest:
        raise MismatchError(
            f"{built.reference} was built from another lock than that of {version_id}",
            remedy=f"Build it again: runpod-comfy image build {version_id}",
        )
    cache = Cache.from_environment()
    with using(cache, console.say):
        models_dir = _bring_models(arguments, selected, cache, console)
        run = _container_run(arguments, built.reference, version_id, models_dir, cache)
        return run_container(client, run, out=sys.stdout.buffer, err=sys.stderr.buffer)


def _bring_models(
    arguments: argparse.Namespace, selected: Selected, cache: Cache, console: Console
) -> Path | None:
    """Brings what neither store nor models folder has; gives that folder, if one is named."""
    from comfy_models.store import ModelStore
    from rp_handler.home.realized import find_home
    from runpod_comfy.realize.home import Home
    from runpod_comfy.realize.prepare.models import ModelPlaces, bring_models
    from runpod_comfy.realize.prepare.progress import UNSEEN

    named = arguments.models_dir or os.environ.get("MODELS_DIR")
    models_dir = Path(named).expanduser().absolute() if named else None
    home = Home(root=find_home(selected.lock.version_id, None, os.environ))
    places = ModelPlaces(
        store=ModelStore(cache.models), models_dir=models_dir or home.models, home=home
    )
    bring_models(
        selected.lock.models,
        places,
        base_dir=selected.base_dir,
        say=console.say,
        progress=UNSEEN,
    )
    return models_dir


def _container_run(
    arguments: argparse.Namespace,
    image: str,
    version_id: str,
    models_dir: Path | None,
    cache: Cache,
) -> ContainerRun:
    from rp_handler.job.sinks import check_output_mode
    from runpod_comfy.images.docker.run_container import ContainerRun

    mode = check_output_mode(
        arguments.output or os.environ.get("OUTPUT_MODE") or DEFAULT_OUTPUT_MODE
    )
    workflow = arguments.workflow.absolute()
    outputs = (arguments.output_dir or DEFAULT_OUTPUT_DIR).absolute()
    cache.models.mkdir(parents=True, exist_ok=True)
    readable = [workflow, cache.models]
    variables = {"COMFY_CACHE_MODELS": str(cache.models)}
    if models_dir is not None and models_dir.is_dir():
        readable.append(models_dir)
        variables["MODELS_DIR"] = str(models_dir)
    writable = []
    if mode == "files":
        outputs.mkdir(parents=True, exist_ok=True)
        writable.append(outputs)
    return ContainerRun(
        image=image,
        arguments=[
            *("--version-id", version_id, "--workflow", str(workflow)),
            *("--output", mode, "--output-dir", str(outputs)),
        ],
        readable=readable,
        writable=writable,
        variables=variables,
    )
