"""The gates of `realize --prove`: the machine, the engine and the outputs of a realized home."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfy_errors import ComfyError, error_kind
from comfy_errors.names import in_lines, quantity
from comfy_home.platforms import this_platform
from runpod_comfy.cli.options import given
from runpod_comfy.cli.proof.runs import runner_at
from runpod_comfy.cli.proof.show import Case, mismatch, worst_code
from runpod_comfy.cli.proof.test import RECORD, tested, with_baselines
from runpod_comfy.cli.show.console import Console
from runpod_comfy.homes.home import Realization


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A gate that was tried. `sentence` says what was found, `error` why it did not pass."""

    name: str
    seconds: float
    sentence: str = ""
    error: ComfyError | None = None

    @property
    def exit_code(self) -> int:
        return self.error.exit_code if self.error else 0

    def document(self) -> dict[str, Any]:
        return {
            "gate": self.name,
            "passed": self.error is None,
            "sentence": self.error.message if self.error else self.sentence,
            "remedy": self.error.remedy if self.error else "",
            "seconds": round(self.seconds, 3),
        }


def pass_gates(job: Realization, arguments: argparse.Namespace, console: Console) -> list[Gate]:
    """Tries the gates in order, up to the first that does not pass, and says what came of each."""
    gates: dict[str, Callable[[], str]] = {
        "machine": lambda: _machine(job, console),
        "engine": lambda: _engine(job, console),
        "outputs": lambda: _outputs(job, arguments, console),
    }
    tried: list[Gate] = []
    for name, gate in gates.items():
        tried.append(_tried(name, gate))
        last = tried[-1]
        console.say(f"gate {name}: {'passed' if last.error is None else 'failed'}: {last.sentence}")
        if last.error is not None:
            break
    return tried


def _tried(name: str, gate: Callable[[], str]) -> Gate:
    started = time.monotonic()
    try:
        sentence = gate()
    except ComfyError as error:
        seconds = time.monotonic() - started
        return Gate(name=name, seconds=seconds, sentence=error.message, error=error)
    return Gate(name=name, seconds=time.monotonic() - started, sentence=sentence)


def _machine(job: Realization, console: Console) -> str:
    """The platform, which realizing has required, the driver, and the room."""
    from rp_handler.engine.command import runs_on_cpu
    from rp_handler.engine.cuda_driver import driver_cuda, require_driver
    from runpod_comfy.lock.python.torch_family import cuda_on
    from runpod_comfy.upkeep.doctor import examine

    platform = this_platform()
    if not runs_on_cpu(job.lock.comfy_args, job.lock.env, os.environ):
        require_driver(cuda_on(job.lock.python, platform), driver_cuda())
    answers = examine(job.cache, job.home.root, os.environ, only=("room", "gpu"))
    for answer in answers:
        if answer.state == "warning":
            console.say(f"Warning: {answer.name}: {answer.found}\n  → {answer.remedy}")
    return "; ".join([platform, *(answer.found for answer in answers)])


def _engine(job: Realization, console: Console) -> str:
    from runpod_comfy.homes.run import check_start

    report = check_start(job)
    for name, node in sorted(report.not_imported.items()):
        console.say(f"Warning: {node.in_words(name)}")
    nodes = quantity(len(report.node_classes), "custom node")
    return f"ComfyUI {report.comfyui_version} starts, with {nodes}"


def _outputs(job: Realization, arguments: argparse.Namespace, console: Console) -> str:
    """Runs each workflow of the project that has a baseline. Raises for those that do not hold."""
    from runpod_comfy.api.workspace import find_project

    workflows = with_baselines(find_project(arguments.project) / "workflows")
    if not workflows:
        return "no workflow has a baseline"
    with tempfile.TemporaryDirectory(prefix="comfy-gates-") as folder:
        runner = runner_at(
            job.target,
            job.lock.version_id,
            output="files",
            output_dir=Path(folder),
            **given(arguments, "models_dir", "verbose"),
        )
        cases = []
        for workflow in workflows:
            console.say(f"Running {workflow}")
            cases.append(tested(workflow, None, runner))
    _require(cases)
    return f"{quantity(len(cases), 'workflow')} with a baseline: no output differs"


def _require(cases: list[Case]) -> None:
    """Raises one error for all cases that do not hold."""
    errors = [error for case in cases if (error := _error_of(case)) is not None]
    if len(errors) == 1:
        raise errors[0]
    if errors:
        code = worst_code(error.exit_code for error in errors)
        raise error_kind(code)(
            f"{len(errors)} of {quantity(len(cases), 'workflow')} do not hold:"
            + in_lines([error.message for error in errors]),
            remedy=errors[0].remedy,
        )


def _error_of(case: Case) -> ComfyError | None:
    if case.error is not None:
        return case.error.within(str(case.workflow))
    assert case.comparison is not None, "each of them has a baseline"
    return mismatch(case.comparison, case.baseline, record=RECORD)
