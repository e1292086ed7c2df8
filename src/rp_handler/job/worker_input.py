"""The `input` of a RunPod job. What is not known is refused by name, so that nothing is ignored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from comfy_errors import InvalidInputError
from comfy_workflows.graph import Graph
from comfy_workflows.load import load_workflow, parse_workflow
from rp_handler.job.sinks import check_output_mode

JOB_OUTPUT_MODES = ("base64",)


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """A job that can be tried. `place` is how messages name its workflow."""

    graph: Graph
    place: str
    timeout_s: float | None
    strict: bool


class _Input(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)

    workflow: dict[str, Any] | str
    timeout: float | None = Field(default=None, gt=0)
    strict: bool = False
    output: str = "base64"


def read_job_input(document: object, workflows: Path) -> JobRequest:
    """The job that the JSON value `document` asks for.

    A workflow that is a name lies in the folder `workflows`. Raises InvalidInputError and
    InvalidWorkflowError.
    """
    try:
        asked = _Input.model_validate(document)
    except ValidationError as error:
        faults = "; ".join(_in_words(fault) for fault in error.errors(include_url=False))
        raise InvalidInputError(f"The job's input cannot be used: {faults}.") from error
    if check_output_mode(asked.output) not in JOB_OUTPUT_MODES:
        raise InvalidInputError(
            f'"{asked.output}" delivers nothing out of a worker.',
            remedy='Use "output": "base64", or leave it out.',
        )
    if isinstance(asked.workflow, str):
        path = _named_workflow(asked.workflow, workflows)
        graph, place = load_workflow(path), path.name
    else:
        place = "of the job"
        graph = parse_workflow(asked.workflow, place=place)
    return JobRequest(graph=graph, place=place, timeout_s=asked.timeout, strict=asked.strict)


def _named_workflow(name: str, workflows: Path) -> Path:
    known = sorted(path.stem for path in workflows.glob("*.json"))
    if name.removesuffix(".json") not in known:
        raise InvalidInputError(
            f'There is no workflow "{name}" in the image.',
            remedy=f"It has: {', '.join(known)}." if known else "Send the graph itself.",
        )
    return workflows / f"{name.removesuffix('.json')}.json"


def _in_words(fault: Any) -> str:
    place = ".".join(map(str, fault["loc"][:1]))
    if fault["type"] == "extra_forbidden":
        return f'"{place}" is not among the inputs that are known'
    if fault["type"] == "missing":
        return f'"{place}" is missing'
    return f'"{place}": {fault["msg"]}' if place else str(fault["msg"])
