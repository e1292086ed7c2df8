"""`bundle`: a version in one file, for machines without network access."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_errors.names import quantity
from comfy_files.progress import readable_size
from comfy_files.user_paths import expanded
from runpod_comfy.cli.options import (
    Subparsers,
    add_command,
    add_group,
    add_version,
    given,
    named_version,
)
from runpod_comfy.cli.show.console import Console

if TYPE_CHECKING:
    from runpod_comfy.bundle.format import BundleSummary

_EXAMPLES = """\
  runpod-comfy bundle create demo -o demo.bundle
  runpod-comfy bundle load demo.bundle
  runpod-comfy realize demo --offline
"""
_CREATE_EXAMPLES = """\
  runpod-comfy bundle create demo -o demo.bundle
  runpod-comfy bundle create demo -o mac.bundle --platform macos-arm64 --without-models
"""
_LOAD_EXAMPLES = """\
  runpod-comfy bundle load demo.bundle
"""
_SHOW_EXAMPLES = """\
  runpod-comfy bundle show demo.bundle --json
"""


def add_parser(commands: Subparsers) -> None:
    summary = "Pack a version into one file, and unpack it on machines without network access."
    actions = add_group(commands, "bundle", summary=summary, examples=_EXAMPLES)
    _add_create(actions)
    _add_load(actions)
    _add_show(actions)


def _add_create(actions: Subparsers) -> None:
    parser = add_command(
        actions,
        "create",
        run=_create,
        summary="Write a version's lock, sources, Python packages and models to one file.",
        details="Anything not cached is downloaded. A lock always gives the same bytes.\n"
        "A Python interpreter is not part of it.",
        examples=_CREATE_EXAMPLES,
    )
    add_version(parser)
    add = parser.add_argument
    add(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        required=True,
        help="the bundle to write",
    )
    add("--without-models", action="store_true", help="leave out the models")
    add(
        "--without-handler",
        action="store_true",
        help="leave out the packages that only images need (on Linux)",
    )
    add(
        "--platform", metavar="PLATFORM", help="linux-x86_64, macos-arm64, …; default: this machine"
    )
    add(
        "--models-dir",
        metavar="DIR",
        type=Path,
        help="folder to search for models besides the store; default $MODELS_DIR",
    )


def _add_load(actions: Subparsers) -> None:
    parser = add_command(
        actions,
        "load",
        run=_load,
        summary="Fill the caches from a bundle, checking every byte.",
        details="Afterwards, `realize --offline` needs nothing else.",
        examples=_LOAD_EXAMPLES,
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="the bundle")


def _add_show(actions: Subparsers) -> None:
    parser = add_command(
        actions,
        "show",
        run=_show,
        summary="Print what a bundle holds, without reading its parts.",
        examples=_SHOW_EXAMPLES,
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="the bundle")


def _create(arguments: argparse.Namespace, console: Console) -> int:
    from dataclasses import replace

    from comfy_home.platforms import PLATFORMS, this_platform
    from runpod_comfy.api.versions import fetch_context_for, read_spec, select
    from runpod_comfy.api.workspace import find_models_dir
    from runpod_comfy.bundle.create import BundleRequest, create_bundle, require_target
    from runpod_comfy.lock.python.wheels import handler_packages

    version_id = named_version(arguments)
    output = expanded(arguments.output).absolute()
    # Before a version without a lock is resolved.
    require_target(output)
    selected = select(
        version_id,
        **given(arguments, "spec", "project"),
        say=console.say,
        explain=console.explain,
    )
    spec = read_spec(version_id, arguments.spec, arguments.project)
    python, platform = selected.lock.python.version, arguments.platform or this_platform()
    has_images = platform in PLATFORMS and PLATFORMS[platform].docker is not None
    has_handler = has_images and not arguments.without_handler
    request = BundleRequest(
        lock=selected.lock,
        spec=spec.path.read_bytes(),
        platform=platform,
        models=not arguments.without_models,
        models_dir=find_models_dir(arguments.models_dir),
        handler=handler_packages(python, platform) if has_handler else None,
    )
    fetch_context = fetch_context_for(selected.base_dir, offline=False, say=console.say)
    with console.arrivals() as (say, progress), fetch_context.cache.using(say):
        fetch_context = replace(fetch_context, say=say)
        summary = create_bundle(request, output, fetch_context, progress=progress)
    _warn_of_sources(summary, console)
    console.say(f"{summary.version_id}: {_in_words(summary)}")
    console.result(str(output), {"path": output, **vars(summary)})
    return 0


def _load(arguments: argparse.Namespace, console: Console) -> int:
    from comfy_errors import UnavailableError
    from comfy_home.platforms import this_platform
    from runpod_comfy.api.workspace import find_project
    from runpod_comfy.bundle.load import load_bundle
    from runpod_comfy.cache.paths import Cache
    from runpod_comfy.homes.environment import find_interpreter
    from runpod_comfy.lock.store import committed_lock_path, load_lock

    project, cache = find_project(arguments.project), Cache.from_environment()
    with console.arrivals() as (say, progress), cache.using(say):
        summary = load_bundle(
            expanded(arguments.file), cache, platform=this_platform(), say=say, progress=progress
        )
    lock = load_lock(committed_lock_path(cache.loaded_spec(summary.version_id), summary.version_id))
    console.say(f"{summary.version_id}: {_in_words(summary)}, all checked")
    _warn_of_sources(summary, console)
    interpreter = True
    try:
        find_interpreter(lock.python.version)
    except UnavailableError as error:
        interpreter = False
        console.say(f"Warning: {error.message}. {error.remedy}")
    spec = project / "versions" / f"{summary.version_id}.json"
    _warn_of_another_spec(spec, lock, console)
    document = {**vars(summary), "python": lock.python.version, "interpreter": interpreter}
    console.result(f"runpod-comfy realize {summary.version_id} --offline", document)
    return 0


def _show(arguments: argparse.Namespace, console: Console) -> int:
    from runpod_comfy.bundle.load import describe_bundle

    summary = describe_bundle(expanded(arguments.file))
    lines = [
        f"version   {summary.version_id}",
        f"lock      {summary.lock_digest}",
        f"platform  {summary.platform}",
        f"trees     {summary.trees}",
        f"wheels    {summary.wheels}, and {summary.handler_wheels} of the handler, for images",
        f"models    {summary.models}",
        f"size      {readable_size(summary.size_bytes)}",
        *(f"source    {name}, to be built where it is installed" for name in summary.sources),
    ]
    console.result("\n".join(lines), summary)
    return 0


def _in_words(summary: BundleSummary) -> str:
    return (
        f"{quantity(summary.trees, 'tree')}, {quantity(summary.wheels, 'Python package')}, "
        f"{quantity(summary.models, 'model')} for {summary.platform}, "
        f"{readable_size(summary.size_bytes)}"
    )


def _warn_of_sources(summary: BundleSummary, console: Console) -> None:
    if summary.sources:
        console.say(
            "Warning: packages without a wheel are built where they are installed, and their "
            "build requirements are not in the bundle, unless the lock has them: "
            f"{', '.join(summary.sources)}"
        )


def _warn_of_another_spec(path: Path, lock: Any, console: Console) -> None:
    from runpod_comfy.spec.load import load_spec, spec_digest

    if path.is_file() and spec_digest(load_spec(path).spec) != lock.spec_digest:
        console.say(
            f"Warning: {path} is a different spec with the same id and takes precedence; outside "
            "this folder the loaded one is used"
        )
