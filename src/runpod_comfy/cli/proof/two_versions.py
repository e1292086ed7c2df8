"""`diff --run`: one workflow on two versions, one after the other, and what differs."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_errors import ComfyError, InvalidInputError
from comfy_files.user_paths import expanded, real
from comfy_home.layout import find_home
from rp_handler.errors import reportable
from runpod_comfy.cli.diff import Side, compare_sides, document_of, locked, side_of
from runpod_comfy.cli.proof.reports import core_changes, lock_changes, require_files, write_page
from runpod_comfy.cli.proof.runs import Runner, explained, runner_of
from runpod_comfy.cli.proof.show import difference, say_circumstances, table
from runpod_comfy.cli.show.console import Console
from runpod_comfy.cli.show.lock_changes import change_lines

if TYPE_CHECKING:
    from comfy_workflows.compare.compare import Comparison
    from comfy_workflows.compare.run import Run
    from comfy_workflows.graph import Graph
    from comfy_workflows.report.parts import Replaced, Report
    from runpod_comfy.lock.diff import LockChange


@dataclass(frozen=True, kw_only=True)
class _Version:
    """A version to run, where: in a home, or in a container of `image`. `title` names it."""

    title: str
    side: Side
    target: Path | None
    image: str | None

    def options(self, arguments: argparse.Namespace) -> argparse.Namespace:
        """The options of `repro` for this version alone."""
        file = self.side.file
        is_lock = self.side.spec is None
        return argparse.Namespace(
            **{
                **vars(arguments),
                "version": self.side.version_id,
                "version_id": None,
                "lock": file if is_lock else None,
                "spec": None if is_lock else file,
                "target": self.target,
                "image": self.image,
                "wheels_dir": None,
                "offline": False,
                "update": False,
                "port": None,
            }
        )


@dataclass(frozen=True, kw_only=True)
class _Done:
    """A version after its run."""

    version: _Version
    runner: Runner
    result: dict[str, Any]
    run: Run


def run_both(arguments: argparse.Namespace, console: Console) -> int:
    """Carries out `diff --run`; returns the exit code. Raises ComfyError and OSError."""
    from comfy_workflows.compare.compare import compare
    from comfy_workflows.compare.tolerance import parse_tolerance
    from comfy_workflows.graph import load_workflow

    if arguments.workflow is None:
        raise InvalidInputError("--run needs a workflow", remedy="Name one with --workflow FILE.")
    # All of this before the runs, which may take minutes.
    workflow = expanded(arguments.workflow)
    graph = load_workflow(workflow)
    tolerance = None if arguments.tolerance is None else parse_tolerance(arguments.tolerance)
    require_files(report=arguments.report)
    versions = _versions(arguments)
    runners = [_runner(version, arguments, console) for version in versions]
    sides = [locked(version.side, arguments.project) for version in versions]
    form, changes = compare_sides(sides[0], sides[1], console)
    before, after = (
        _run(version, runner, workflow, console)
        for version, runner in zip(versions, runners, strict=True)
    )
    comparison = compare(before.run, after.run, tolerance=tolerance)
    if before.run.circumstances.lock == after.run.circumstances.lock:
        comparison = explained(comparison, workflow, console, runners=runners)
    replaced, notes = _replaced(graph, before, after)
    comparison = replace(comparison, notes=(*comparison.notes, *notes))
    if arguments.report is not None:
        report = _report(workflow, graph, before, after, comparison, changes, replaced)
        write_page(arguments.report, report, console)
    document = comparison.document() | {
        "versions": document_of(sides[0], sides[1], form, changes),
        "replaced": [asdict(each) for each in replaced],
        "results": {"before": before.result, "after": after.result},
    }
    console.result(_text(before, after, comparison, changes, replaced), document)
    return _say_outcome(before, after, comparison, arguments.report, console)


def _versions(arguments: argparse.Namespace) -> tuple[_Version, _Version]:
    """Both versions. Raises InvalidInputError if they cannot both have a home of their own."""
    sides = [side_of(text, arguments.project) for text in (arguments.before, arguments.after)]
    targets = arguments.target_a, arguments.target_b
    images = arguments.image_a, arguments.image_b
    titles = [
        f"{side.title} in {image}" if image else side.title
        for side, image in zip(sides, images, strict=True)
    ]
    if titles[0] == titles[1]:
        titles = [
            f"{title} ({run} run)" for title, run in zip(titles, ("first", "second"), strict=True)
        ]
    before, after = (
        _Version(title=title, side=side, target=target, image=image)
        for title, side, target, image in zip(titles, sides, targets, images, strict=True)
    )
    for version, letter in ((before, "a"), (after, "b")):
        if version.image and version.target:
            raise InvalidInputError(
                f"--target-{letter} cannot be used with --image-{letter}",
                remedy="Leave out one of the two.",
            )
    if before.image is None and after.image is None and not _are_one(*sides):
        _require_two_homes(before, after)
    return before, after


def _are_one(before: Side, after: Side) -> bool:
    """True if both sides name the same version, which then runs twice in one home."""
    if before.lock and after.lock:
        return before.lock.digest == after.lock.digest
    return before == after


def _require_two_homes(before: _Version, after: _Version) -> None:
    if os.environ.get("COMFY_HOME") and None in (before.target, after.target):
        raise InvalidInputError(
            "COMFY_HOME names one home, and each of the two versions needs its own",
            remedy="Unset it, or name both homes with --target-a and --target-b.",
        )
    homes = [find_home(each.side.version_id, each.target, {}) for each in (before, after)]
    if real(homes[0]) == real(homes[1]):
        raise InvalidInputError(
            f"{before.title} and {after.title} would have one home, {homes[0]}",
            remedy="Name another folder for one of them with --target-a or --target-b.",
        )


def _runner(version: _Version, arguments: argparse.Namespace, console: Console) -> Runner:
    with _naming(version):
        return runner_of(version.options(arguments), console, output="files")


def _run(version: _Version, runner: Runner, workflow: Path, console: Console) -> _Done:
    from comfy_workflows.compare.run import run_of

    console.say(f"Running {workflow} on {version.title}")
    with _naming(version):
        result = runner.run(workflow)
    for warning in result.get("warnings") or ():
        console.say(f"Warning: {version.title}: {warning}")
    run = run_of(result, title=f"the run on {version.title}")
    return _Done(version=version, runner=runner, result=result, run=run)


@contextmanager
def _naming(version: _Version) -> Iterator[None]:
    """Errors of the block begin with the name of the version."""
    try:
        yield
    except (ComfyError, OSError) as error:
        raise reportable(error).within(version.title) from None


def _replaced(graph: Graph, before: _Done, after: _Done) -> tuple[list[Replaced], list[str]]:
    """The nodes that the two versions implement differently, and notes."""
    from comfy_workflows.report.replaced import replaced_nodes

    known = []
    for done in (before, after):
        with _naming(done.version):
            known.append(done.runner.node_classes())
    then, now = known
    if then is None or now is None:
        title = before.version.title if then is None else after.version.title
        return [], [f"What {title} has as nodes was never recorded, so nodes are not compared."]
    return replaced_nodes(graph, then, now), []


def _report(
    workflow: Path,
    graph: Graph,
    before: _Done,
    after: _Done,
    comparison: Comparison,
    changes: Sequence[LockChange],
    replaced: Sequence[Replaced],
) -> Report:
    from comfy_workflows.report.parts import Report, ShownRun

    then, now = (
        ShownRun(title=done.version.title, run=done.run, result=done.result)
        for done in (before, after)
    )
    return Report(
        title=f"{workflow.name} on {then.title} and {now.title}",
        workflow=workflow.name,
        graph=graph,
        before=then,
        after=now,
        comparison=comparison,
        changes=[
            *core_changes(before.run.circumstances, after.run.circumstances),
            *lock_changes(changes),
        ],
        replaced=replaced,
    )


def _text(
    before: _Done,
    after: _Done,
    comparison: Comparison,
    changes: Sequence[LockChange],
    replaced: Sequence[Replaced],
) -> str:
    """The outputs, what differs between the versions, and the nodes that it changed."""
    lines = [table(comparison), "", f"{before.version.title} → {after.version.title}"]
    lines += [f"  {line}" for line in change_lines(changes) or ["no differences in the locks"]]
    if replaced:
        lines += ["", "nodes of the workflow that are not what they were"]
        lines += [f"  {each.node} {each.class_type}: {each.sentence}" for each in replaced]
    return "\n".join(lines).lstrip()


def _say_outcome(
    before: _Done, after: _Done, comparison: Comparison, report: Path | None, console: Console
) -> int:
    say_circumstances(comparison, console)
    place = f"in {report}" if report else "with --report FILE"
    then, now = before.version.title, after.version.title
    error = difference(
        comparison,
        than=f"the outputs of {now} differ from those of {then}",
        remedy=f"Look at them side by side {place}; a difference that is small enough is accepted "
        "with --tolerance.",
    )
    if error is None:
        console.say(f"No output of {now} differs from {then}: {comparison.summary()}")
        return 0
    console.say(error.in_words())
    return error.exit_code
