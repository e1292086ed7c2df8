"""`prove`: resolves, realizes and runs a version twice, and reports what is the same."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from comfy_errors import ComfyError, InvalidInputError, UnavailableError
from comfy_errors.names import quantity
from comfy_files.files import digest_of, os_reason, os_remedy
from comfy_files.user_paths import expanded
from rp_handler.run_request import named_path, seconds
from runpod_comfy.cli.image.options import add_build_options
from runpod_comfy.cli.image.verify import build_twice, named_engines
from runpod_comfy.cli.options import Subparsers, add_command, add_version, given, named_version
from runpod_comfy.cli.proof.reports import require_files
from runpod_comfy.cli.proof.runs import Runner, explained, runner_at
from runpod_comfy.cli.proof.show import Part, failed, table_of_parts, worst_code, write_junit
from runpod_comfy.cli.proof.test import WorkflowTest, test_of, with_baselines
from runpod_comfy.cli.realize import realize_visibly
from runpod_comfy.cli.show.console import Console

if TYPE_CHECKING:
    from comfy_workflows.compare.compare import Comparison
    from comfy_workflows.compare.run import Run
    from runpod_comfy.api.proof import ResolvedTwice
    from runpod_comfy.cache.tree import FetchContext
    from runpod_comfy.homes.home import Realization
    from runpod_comfy.homes.verify.compare import ComparedPart
    from runpod_comfy.images.proof.verify import NamedEngine
    from runpod_comfy.lock.model import Lock
    from runpod_comfy.spec.load import LoadedSpec

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
        lock, part = _two_locks(loaded, folder, context, console)
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
        parts += timed(_two_homes(job, folder, inputs, tests, arguments, console))
        parts += timed(_two_images(lock, context, engines, arguments, console))
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
    console.result(table_of_parts(parts), document)
    names = [part.name for part in parts if part.exit_code]
    outcome = (
        f"not proved: {', '.join(names)}" if names else "everything that was made twice is equal"
    )
    console.say(f"{lock.version_id}: {outcome}, in {seconds:.0f} s")
    return code


def timed(parts: Iterable[Part]) -> Iterator[Part]:
    """The parts, each with the seconds that it took."""
    started = time.monotonic()
    for part in parts:
        now = time.monotonic()
        yield replace(part, seconds=now - started)
        started = now


def _two_locks(
    loaded: LoadedSpec, folder: Path, context: FetchContext, console: Console
) -> tuple[Lock, Part]:
    """The lock to go on with, the version's own if it has one, and what resolving proved."""
    from runpod_comfy.api.proof import resolve_twice
    from runpod_comfy.lock.store import find_lock

    console.say(f"Resolving {loaded.path} twice")
    try:
        twice = resolve_twice(loaded, folder, context)
    except ComfyError as error:
        kept = find_lock(loaded, context.cache)
        if kept is None:
            raise
        return kept[0], failed("lock", error)
    return twice.kept or twice.first, _lock_part(twice)


def _lock_part(twice: ResolvedTwice) -> Part:
    from runpod_comfy.cli.show.lock_changes import change_lines

    beside = f", and {twice.path}" if twice.path else ""
    if not twice.is_repeatable:
        sentence = "the second lock differs from the first"
    elif not twice.is_kept:
        sentence = f"two equal locks, which differ from {twice.path}"
    else:
        return Part(
            name="lock",
            verdict="equal",
            digest=twice.first.digest,
            sentence=f"two locks{beside}, {quantity(len(twice.first.to_bytes()), 'byte')}",
        )
    differences = change_lines(twice.changes) or ["only its bytes: resolve writes it again"]
    return Part(
        name="lock",
        verdict="differs",
        digest=twice.first.digest,
        sentence=sentence,
        differences=differences,
    )


def _two_homes(
    job: Realization,
    folder: Path,
    inputs: Path,
    tests: Sequence[WorkflowTest],
    arguments: argparse.Namespace,
    console: Console,
) -> Iterator[Part]:
    """Realizes two homes, compares them, and runs the workflows in both."""
    from runpod_comfy.api.proof import first_home, second_home
    from runpod_comfy.homes.verify.compare import compare_homes

    with first_home(job, folder, inputs=inputs) as first:
        console.say("Realizing the first home, from the cache")
        try:
            realize_visibly(first, console)
            with second_home(job, folder, inputs=inputs) as second:
                console.say("Realizing the second home, with everything built again")
                realize_visibly(second, console)
                console.say("Comparing the two homes")
                yield from map(_home_part, compare_homes(first, second))
        except ComfyError as error:
            yield failed("homes", error)
            return
        runners = [
            runner_at(
                home.target,
                job.lock.version_id,
                output="files",
                output_dir=folder / f"outputs-{number}",
                timeout_s=arguments.timeout,
                verbose=console.verbose,
            )
            for number, home in enumerate((first, second), start=1)
        ]
        yield from _outputs(tests, runners, console)


def _home_part(part: ComparedPart) -> Part:
    return Part(
        name=part.name,
        verdict="differs" if part.differences else "equal",
        digest=part.digest,
        sentence=part.size,
        differences=part.differences,
    )


def _outputs(
    tests: Sequence[WorkflowTest], runners: Sequence[Runner], console: Console
) -> Iterator[Part]:
    if not tests:
        sentence = "no workflow has a baseline, and --workflow names none"
        yield Part(name="outputs", verdict="not asked for", sentence=sentence)
    for test in tests:
        name = f"outputs:{test.workflow.stem}"
        console.say(f"Running {test.workflow} in both homes")
        try:
            yield _compared_runs(name, test, runners, console)
        except ComfyError as error:
            yield failed(name, error)
        except OSError as error:
            yield failed(name, ComfyError(os_reason(error), remedy=os_remedy(error)))


def _compared_runs(
    name: str, test: WorkflowTest, runners: Sequence[Runner], console: Console
) -> Part:
    from comfy_workflows.compare.compare import compare
    from comfy_workflows.compare.run import run_of

    results = [runner.run(test.workflow) for runner in runners]
    one, other = (run_of(result) for result in results)
    between = explained(compare(one, other), test.workflow, console, runners=runners)
    differences = _faults(between, "the two homes")
    if not between.holds:
        differences += between.notes
    sentence = f"{between.summary()} in the two homes"
    with_baseline: list[Comparison] = []
    if test.baseline is None:
        sentence += "; there is no baseline"
    else:
        try:
            with_baseline = [found for result in results if (found := test.compare(result))]
        except UnavailableError as error:
            sentence += f"; {error.message}"
        else:
            sentence += f"; compared with {test.path}"
        for comparison in with_baseline:
            differences += [
                fault for fault in _faults(comparison, "the baseline") if fault not in differences
            ]
    return Part(
        name=name,
        verdict="differs" if differences else "equal",
        digest=_digest_of(one),
        sentence=sentence,
        differences=differences,
        details={
            "workflow": str(test.workflow),
            "homes": between.document(),
            "baseline": [comparison.document() for comparison in with_baseline],
        },
    )


def _faults(comparison: Comparison, where: str) -> list[str]:
    return [f"{where}: {it.in_words()}" for it in comparison.findings if not it.holds]


def _digest_of(run: Run) -> str:
    """Of what the outputs show: their places and their decoded content."""
    shown = [
        [*output.place, output.content.sha256 if output.content else output.sha256]
        for output in run.outputs
    ]
    return digest_of(json.dumps(shown).encode())


def _two_images(
    lock: Lock,
    context: FetchContext,
    engines: Sequence[NamedEngine],
    arguments: argparse.Namespace,
    console: Console,
) -> Iterator[Part]:
    """Builds the image twice on the one engine, if there is one."""
    from runpod_comfy.api.images import image_job

    if not engines:
        yield Part(name="image", verdict="not asked for", sentence="--image builds it twice")
        return
    try:
        options = given(arguments, "base", "network", "ca_bundle", "project")
        (proof,) = build_twice(image_job(lock, context, **options), engines, console)
    except ComfyError as error:
        yield failed("image", error)
        return
    yield Part(
        name="image",
        verdict="equal",
        digest=proof.image_ids[0],
        sentence=f"{quantity(len(proof.layers), 'layer')}, built twice without a cache",
        details={"layers": list(proof.layers), "engine": proof.version},
    )
