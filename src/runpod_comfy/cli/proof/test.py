"""`test`: runs workflows and compares their outputs with their baselines."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Any

from comfy_errors import ComfyError, InvalidInputError, UnavailableError
from comfy_files.files import os_reason, os_remedy
from comfy_files.user_paths import expanded
from comfy_workflows.folder import baseline_path, workflow_files
from rp_handler.run_request import DEFAULT_OUTPUT_MODE, add_run_options, named_path
from runpod_comfy.cli.options import (
    Subparsers,
    add_command,
    add_realize_options,
    add_update_option,
    add_version,
)
from runpod_comfy.cli.proof.reports import report_on_baseline, require_files, write_page
from runpod_comfy.cli.proof.repro import REPORT_HELP, TOLERANCE_HELP
from runpod_comfy.cli.proof.runs import Runner, device_of_home, runner_of
from runpod_comfy.cli.proof.show import (
    Case,
    mismatch,
    say_circumstances,
    table,
    worst_code,
    write_junit,
)
from runpod_comfy.cli.realize import find_job, realize_visibly, run_request
from runpod_comfy.cli.show.console import Console

if TYPE_CHECKING:
    from comfy_workflows.compare.baseline import Baseline
    from comfy_workflows.compare.compare import Comparison
    from comfy_workflows.compare.run import Device
    from comfy_workflows.compare.tolerance import Tolerance

RECORD = "record it: run `repro` with the same workflow and --mode record."

_EXAMPLES = """\
  runpod-comfy test demo --workflow workflows/example.json --output base64
  runpod-comfy test demo --all --junit report.xml
"""


def add_parser(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "test",
        run=_run,
        summary="Run workflows on a version and compare their outputs with their baselines.",
        details="The baseline of w.json is w.baseline.json beside it; `repro --mode record` writes "
        "it.\nExit code 4 if an output differs.",
        examples=_EXAMPLES,
    )
    add_version(parser)
    add_realize_options(parser)
    add_update_option(parser)
    add_run_options(parser)
    add = parser.add_argument
    add("--all", action="store_true", help="every workflow of workflows/ that has a baseline")
    add("--junit", type=named_path, metavar="FILE", help="write a report in JUnit's format")
    add("--tolerance", metavar="BOUNDS", help=TOLERANCE_HELP)
    add("--report", type=named_path, metavar="FILE", help=f"{REPORT_HELP}; of one workflow")
    parser.set_defaults(ui=False, image=None)


def _run(arguments: argparse.Namespace, console: Console) -> int:
    from comfy_workflows.compare.tolerance import parse_tolerance

    tolerance = None if arguments.tolerance is None else parse_tolerance(arguments.tolerance)
    require_files(report=arguments.report, junit=arguments.junit)
    if arguments.all:
        return _test_all(arguments, tolerance, console)
    return _test_one(arguments, tolerance, console)


@dataclass(frozen=True, kw_only=True)
class WorkflowTest:
    """A workflow, and its baseline if there is one."""

    workflow: Path
    path: Path
    baseline: Baseline | None
    tolerance: Tolerance | None

    def require_entry(self, known_device: Callable[[], Device | None]) -> None:
        """Raises UnavailableError if it is known before a run that the baseline has no entry."""
        from comfy_workflows.compare.baseline import require_entry

        if self.baseline is not None and self.tolerance is None:
            require_entry(self.path, self.baseline, known_device())

    def compare(self, result: dict[str, Any]) -> Comparison | None:
        """None without a baseline. Raises ComfyError."""
        from comfy_workflows.compare.baseline import compare_with_baseline
        from comfy_workflows.compare.run import run_of

        if self.baseline is None:
            return None
        return compare_with_baseline(
            self.path, self.baseline, run_of(result), tolerance=self.tolerance
        )

    def write_page(
        self, page: Path | None, result: dict[str, Any], comparison: Comparison, console: Console
    ) -> None:
        """Writes the page about a comparison, if one is asked for. Raises ComfyError."""
        if page is not None:
            assert self.baseline is not None, "there is a comparison"
            report = report_on_baseline(self.workflow, self.path, self.baseline, result, comparison)
            write_page(page, report, console)


def test_of(workflow: Path, tolerance: Tolerance | None) -> WorkflowTest:
    """Reads the files of a test, so that a broken one is reported without waiting for a run."""
    from comfy_workflows.compare.baseline import load_baseline
    from comfy_workflows.graph import load_workflow, workflow_digest

    path = baseline_path(workflow)
    digest = workflow_digest(load_workflow(workflow))
    baseline = load_baseline(path, workflow=digest) if path.exists() else None
    return WorkflowTest(workflow=workflow, path=path, baseline=baseline, tolerance=tolerance)


def _test_one(arguments: argparse.Namespace, tolerance: Tolerance | None, console: Console) -> int:
    """Runs one workflow as `run` does, and compares. The result is printed as `run` prints it."""
    from rp_handler.main import execute

    if arguments.workflow is None:
        raise InvalidInputError(
            "no workflow was given",
            remedy="Name one with --workflow, or test all that have a baseline with --all.",
        )
    request = run_request(arguments)
    assert request.workflow is not None, "the options name one"
    test = test_of(request.workflow, tolerance)
    if arguments.report is not None and test.baseline is None:
        raise UnavailableError(
            f"--report shows a comparison, and there is no baseline at {test.path}",
            remedy=RECORD.capitalize(),
        )
    job = find_job(arguments, console)
    realize_visibly(job, console)
    version_id = job.lock.version_id
    started = time.monotonic()
    try:
        test.require_entry(lambda: device_of_home(job.target, version_id))
    except ComfyError as error:
        if arguments.junit is not None:
            refused = _ended(test.workflow, started, error=error)
            _report(arguments.junit, [refused], version_id)
        raise
    judged: list[Case] = []

    def judge(result: dict[str, Any]) -> ComfyError | None:
        judged.append(_case(test, lambda: result, started))
        comparison = judged[0].comparison
        if comparison is None:
            return judged[0].error
        try:
            test.write_page(arguments.report, result, comparison, console)
        except ComfyError as error:
            return error
        result["comparison"] = comparison.document()
        return mismatch(comparison, test.path, record=RECORD)

    code = execute(replace(request, version_id=version_id, home=job.target), judge)
    if judged:
        _say_outcome(judged[0], console)
    if arguments.junit is not None:
        failed = ComfyError(f"the run failed with exit code {code}")
        case = judged[0] if judged else _ended(test.workflow, started, error=failed)
        _report(arguments.junit, [case], version_id)
    return code


def _say_outcome(case: Case, console: Console) -> None:
    if case.error is not None:
        return
    if case.comparison is None:
        console.say("The run succeeded; there is no baseline to compare with")
        return
    say_circumstances(case.comparison, console)
    if case.comparison.holds:
        console.say(f"No output differs from {case.baseline}: {case.comparison.summary()}")


def _test_all(arguments: argparse.Namespace, tolerance: Tolerance | None, console: Console) -> int:
    from runpod_comfy.api.workspace import find_project

    for option in ("workflow", "report"):
        if getattr(arguments, option) is not None:
            raise InvalidInputError(
                f"--{option} cannot be used with --all", remedy="Leave out one of the two."
            )
    folder = find_project(arguments.project) / "workflows"
    workflows = _require_baselines(folder)
    runner = runner_of(arguments, console, output=arguments.output or DEFAULT_OUTPUT_MODE)
    cases = []
    for workflow in workflows:
        case = tested(workflow, tolerance, runner)
        cases.append(case)
        _show(case, console)
    if arguments.junit is not None:
        _report(arguments.junit, cases, runner.version_id)
    console.result("", {"workflows": [case.document() for case in cases]})
    failed = [case for case in cases if case.exit_code]
    console.say(f"{len(cases) - len(failed)} of {len(cases)} workflows hold")
    return worst_code(case.exit_code for case in failed)


def with_baselines(folder: Path) -> list[Path]:
    """The workflows in a folder that have a baseline, sorted."""
    return [path for path in workflow_files(folder) if baseline_path(path).exists()]


def _require_baselines(folder: Path) -> list[Path]:
    found = with_baselines(folder)
    if not found:
        raise UnavailableError(
            f"no workflow in {folder} has a baseline",
            remedy="Record one: runpod-comfy repro --workflow FILE --mode record",
        )
    return found


def tested(workflow: Path, tolerance: Tolerance | None, runner: Runner) -> Case:
    """Runs a workflow and compares it with its baseline. An error becomes that of the case."""
    started = time.monotonic()
    try:
        test = test_of(workflow, tolerance)
    except ComfyError as error:
        return _ended(workflow, started, error=error)

    def run() -> dict[str, Any]:
        test.require_entry(runner.known_device)
        return runner.run(workflow)

    return _case(test, run, started)


def _case(test: WorkflowTest, run: Callable[[], dict[str, Any]], started: float) -> Case:
    try:
        return _ended(test.workflow, started, comparison=test.compare(run()))
    except ComfyError as error:
        return _ended(test.workflow, started, error=error)
    except OSError as error:
        refused = ComfyError(os_reason(error), remedy=os_remedy(error))
        return _ended(test.workflow, started, error=refused)


def _ended(
    workflow: Path,
    started: float,
    *,
    comparison: Comparison | None = None,
    error: ComfyError | None = None,
) -> Case:
    return Case(
        workflow=workflow,
        baseline=baseline_path(workflow),
        seconds=time.monotonic() - started,
        comparison=comparison,
        error=error,
    )


def _show(case: Case, console: Console) -> None:
    if case.error is not None:
        console.say(f"{case.workflow}: {case.error.in_words()}")
        return
    assert case.comparison is not None, "each of them has a baseline"
    say_circumstances(case.comparison, console)
    if not console.as_json:
        console.result(f"{case.workflow}\n{indent(table(case.comparison), '  ')}", None)


def _report(path: Path, cases: list[Case], version_id: str) -> None:
    in_junit = [case.in_junit() for case in cases]
    write_junit(expanded(path), in_junit, suite=f"runpod-comfy test {version_id}")
