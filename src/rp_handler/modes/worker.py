"""RunPod mode: a resident engine, and RunPod's SDK, which fetches jobs and returns results.

Unknown keys in the `input` of a job are rejected by name, so that nothing is ignored.
"""

from __future__ import annotations

import asyncio
import importlib.util
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from comfy_errors import ComfyError, InvalidInputError, UnavailableError
from comfy_files.json_faults import fault_words
from comfy_workflows.graph import Graph, load_workflow, parse_workflow
from rp_handler.engine.prompt import Listener
from rp_handler.engine.supervisor import ResidentEngine
from rp_handler.errors import JobError, failure_document, reportable
from rp_handler.home.model_search import ModelSearch
from rp_handler.home.models import models_at_hand
from rp_handler.home.realized import Home
from rp_handler.interruption import in_thread
from rp_handler.job.job import Job
from rp_handler.job.run import run_job
from rp_handler.outputs.inline import Base64Sink
from rp_handler.outputs.modes import check_output_mode


async def serve_jobs(
    home: Home,
    listener: Listener,
    *,
    workflows: Path,
    sdk_arguments: Sequence[str],
    search: ModelSearch | None,
) -> int:
    """Runs jobs until cancelled, or until the SDK ends, as it does after a test. Returns its exit
    code.

    `workflows` is the folder of workflows that a job may name. The engine is ready before the first
    job is taken. Raises subclasses of ComfyError if it cannot be started, UnavailableError without
    the SDK.
    """
    if importlib.util.find_spec("runpod") is None:
        raise UnavailableError(
            "RunPod's SDK, which takes jobs, is not installed here",
            remedy="Use an image, which has it, or install it: pip install 'runpod-comfy[worker]'; "
            "in a clone: make venv DEV=1",
        )
    sdk = _Sdk(sdk_arguments)
    try:
        async with (
            models_at_hand(home, search, say=listener.say) as (home, warnings),
            ResidentEngine(home, listener) as engine,
        ):
            for warning in warnings:
                listener.say(f"Warning: {warning}")
            jobs = Jobs(engine=engine, listener=listener, workflows=workflows, warnings=warnings)
            return await sdk.serve(jobs)
    finally:
        # The SDK's own process, which sends heartbeats to RunPod.
        for child in multiprocessing.active_children():
            child.kill()


@dataclass(frozen=True, kw_only=True)
class Jobs:
    """Runs jobs, one after the other."""

    engine: ResidentEngine
    listener: Listener
    workflows: Path
    warnings: Sequence[str]
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def answer(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """The result document of `job`, or the failure document. Never raises ComfyError."""
        try:
            async with self._turn:
                asked = read_job_input(job.get("input"), self.workflows)
                made = Job(
                    id=str(job.get("id")),
                    graph=asked.graph,
                    place=asked.place,
                    sink=Base64Sink(),
                    listener=self.listener,
                    timeout_s=asked.timeout_s,
                    strict=asked.strict,
                    warnings=[*self.warnings],
                )
                return await run_job(made, self.engine)
        except (ComfyError, OSError) as error:
            self.listener.say(f"job {job.get('id')}: {reportable(error).in_words()}")
            return failure_document(reportable(error))


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """A validated job. `place` names its workflow in messages."""

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
    """The job described by the JSON value `document`.

    A workflow given by name is in the folder `workflows`. Raises InvalidInputError and
    InvalidWorkflowError.
    """
    try:
        asked = _Input.model_validate(document)
    except ValidationError as error:
        faults = "; ".join(_in_words(fault) for fault in error.errors(include_url=False))
        raise InvalidInputError(f"The job's input cannot be used: {faults}.") from error
    if check_output_mode(asked.output) != "base64":
        raise InvalidInputError(
            f'Output "{asked.output}" is not available in a worker.',
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
        return f'unknown key "{place}"'
    if fault["type"] == "missing":
        return f'"{place}" is missing'
    return f'"{place}" {fault_words(fault)}' if place else f"it {fault_words(fault)}"


# The variables that set the SDK's log level, unless `--rp_log_level` does.
_LOG_LEVELS = ("RUNPOD_LOG_LEVEL", "RUNPOD_DEBUG_LEVEL")


class _Sdk:
    """RunPod's SDK in a thread: the main thread, which receives signals, belongs to the engine."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._arguments = arguments
        self._loop = asyncio.get_running_loop()
        self._ready = threading.Event()
        self._jobs: Jobs | None = None
        # It is imported while the engine boots, and cannot be interrupted.
        self._ended = asyncio.ensure_future(in_thread(self._run, grace_s=0))

    async def serve(self, jobs: Jobs) -> int:
        """Runs the SDK until it ends; returns its exit code."""
        self._jobs = jobs
        self._ready.set()
        return await self._ended

    async def _handle(self, job: dict[str, Any]) -> dict[str, Any]:
        assert self._jobs is not None
        # Cancelling this future cancels the job: that is how the SDK stops one.
        work = asyncio.run_coroutine_threadsafe(self._jobs.answer(job), self._loop)
        return await asyncio.wrap_future(work)

    def _run(self) -> int:
        if not any(name in os.environ for name in _LOG_LEVELS):
            # By default it logs every result, including the image data.
            os.environ[_LOG_LEVELS[0]] = "INFO"
        try:
            import runpod.serverless  # type: ignore[import-untyped]

            for name in ("runpod.serverless", "runpod.serverless.modules.rp_scale"):
                # It would install signal handlers, which only the main thread may do, and then wait
                # for jobs.
                importlib.import_module(name).signal = _NoSignals  # type: ignore[attr-defined]
            self._ready.wait()
            sys.argv = [sys.argv[0], *self._arguments]
            runpod.serverless.start({"handler": self._handle})
        except SystemExit as ended:
            return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        except BaseException as error:
            raise JobError(f"RunPod's SDK ended: {type(error).__name__}: {error}.") from error
        return 0


class _NoSignals:
    """Replaces the module `signal` in the SDK."""

    SIGINT = signal.SIGINT
    SIGTERM = signal.SIGTERM

    @staticmethod
    def signal(*_: object) -> None:
        pass
