"""`prove`: resolves, realizes and runs a version twice, and reports what is the same."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from comfy_errors import InvalidInputError
from comfy_files.user_paths import expanded
from rp_handler.run_request import named_path, seconds
from runpod_comfy.cli.image.options import add_build_options
from runpod_comfy.cli.image.verify import named_engines
from runpod_comfy.cli.options import Subparsers, add_command, add_version, named_version
from runpod_comfy.cli.proof.reports import require_files
from runpod_comfy.cli.proof.show import worst_code, write_junit
from runpod_comfy.cli.proof.test import WorkflowTest, test_of, with_baselines
from runpod_comfy.cli.proof.twice import Part, table, timed, two_homes, two_images, two_locks
from runpod_comfy.cli.show.console import Console

if TYPE_CHECKING:
    from runpod_comfy.images.proof.verify import NamedEngine
    from runpod_comfy.lock.model import Lock

_DETAILS = """\
Resolves the spec twice and compares the locks, also with the version's own. Realizes two temporary
homes, the second with everything built again from what was downloaded, and compares their files.
Runs workflows in both and compares the outputs, also with their baselines. With --image it builds
the image twice too. Nothing of the version is changed: no lock is written, no home is left.
Exit code 4 if anything differs."""

_EXAMPLES = """\
  runpod-comfy prove demo
  runpod-comfy prove demo --workflow workflows/example.json
  runpod-comfy prove demo --image --base cuda --junit report.xml
"""


def add_parser(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "prove",
        run=_run,
        summary="Make a version twice and prove that it is the same.",
        details=_DETAILS,
        examples=_EXAMPLES,
    )
    add_version(parser)
    add = parser.add_argument
    add(
        "--workflow",
        type=named_path,
        metavar="FILE",
        action="append",
        help="run this graph in both homes, repeatable; default: every workflow of workflows/ that "
        "has a baseline",
    )
    add("--timeout", type=seconds, metavar="SECONDS", help="how long a workflow may run (no limit)")
    add("--image", action="store_true", help="also build the image twice, without a cache")
    add("--base", metavar="BASE", help="what the image is based on, as for `image verify`")
    add_build_options(parser)
    add("--junit", type=named_path, metavar="FILE", help="write a report in JUnit's format")


def _run(arguments: argparse.Namespace, console: Console) -> int:
    from comfy_home.layout import find_home
    from runpod_comfy.api.proof import proving, whole_lock
    from runpod_comfy.api.versions import fetch_context_for, read_spec
    from runpod_comfy.homes.home import Realization

    started = time.monotonic()
    # All of this first: the rest takes minutes.
    require_files(junit=arguments.junit)
    engines = _engines(arguments)
    loaded = read_spec(named_version(arguments), arguments.spec, arguments.project)
    tests = _tests(arguments)
    context = fetch_context_for(loaded.path.parent, offline=arguments.offline, say=console.say)
    with proving(context.cache, console.say) as folder:
        lock, part = two_locks(loaded, folder, context, console)
        parts = [replace(part, seconds=time.monotonic() - started)]
        with console.arrivals() as (say, progress):
            lock = whole_lock(
                lock, context.base_dir, offline=context.offline, say=say, progress=progress
            )
        job = Realization(
            lock=lock,
            target=folder,
            base_dir=context.base_dir,
            cache=context.cache,
            offline=context.offline,
            say=console.say,
            show=console.script_output,
        )
        inputs = find_home(lock.version_id, None, os.environ) / "input"
        parts += timed(two_homes(job, folder, inputs, tests, arguments, console))
        parts += timed(two_images(lock, context, engines, arguments, console))
    if arguments.junit is not None:
        in_junit = [part.in_junit() for part in parts]
        suite = f"runpod-comfy prove {lock.version_id}"
        write_junit(expanded(arguments.junit), in_junit, suite=suite)
    return _report(lock, parts, time.monotonic() - started, console)


def _engines(arguments: argparse.Namespace) -> list[NamedEngine]:
    """The engine that builds images, if it is asked for."""
    for_images = [name for name in ("base", "network", "ca_bundle") if getattr(arguments, name)]
    if for_images and not arguments.image:
        raise InvalidInputError(
            f"--{for_images[0].replace('_', '-')} is for the image, which is only built with "
            "--image",
            remedy="Add --image, or leave it out.",
        )
    return named_engines(None) if arguments.image else []


def _tests(arguments: argparse.Namespace) -> list[WorkflowTest]:
    """The workflows to run, with their baselines. Raises for one that cannot be read."""
    from runpod_comfy.api.workspace import find_project

    if arguments.workflow:
        workflows = [expanded(workflow) for workflow in arguments.workflow]
    else:
        workflows = with_baselines(find_project(arguments.project) / "workflows")
    return [test_of(workflow, None) for workflow in workflows]


def _report(lock: Lock, parts: Sequence[Part], seconds: float, console: Console) -> int:
    code = worst_code(part.exit_code for part in parts)
    document = {
        "version_id": lock.version_id,
        "lock_digest": lock.digest,
        "proved": code == 0,
        "parts": [part.document() for part in parts],
        "seconds": round(seconds, 3),
    }
    console.result(table(parts), document)
    names = [part.name for part in parts if part.exit_code]
    outcome = (
        f"not proved: {', '.join(names)}" if names else "everything that was made twice is equal"
    )
    console.say(f"{lock.version_id}: {outcome}, in {seconds:.0f} s")
    return code
