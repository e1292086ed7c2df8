"""RunPod mode: an engine that stays, and RunPod's SDK that brings it jobs and takes results."""

from __future__ import annotations

import asyncio
import importlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from comfy_errors import ComfyError
from rp_handler.engine.supervisor import ResidentEngine
from rp_handler.errors import JobError, failure_document
from rp_handler.home.model_search import ModelSearch
from rp_handler.home.models_at_start import models_at_hand
from rp_handler.home.realized import Home
from rp_handler.job.run import Listener, check_graph, deliver
from rp_handler.job.sinks import Base64Sink
from rp_handler.job.smoke import smoke_report
from rp_handler.job.worker_input import JobRequest, read_job_input


async def serve_jobs(
    home: Home,
    listener: Listener,
    *,
    workflows: Path,
    sdk_arguments: Sequence[str],
    search: ModelSearch | None,
) -> int:
    """Runs jobs until cancelled, or until the SDK ends, as it does after a test; its exit code.

    `workflows` is the folder of workflows that a job may name. The engine is up before the first
    job is taken. Raises ComfyError's children if it cannot be started.
    """
    sdk = _Sdk(sdk_arguments)
    try:
        async with (
            models_at_hand(home, search, say=listener.say) as (home, warnings),
            ResidentEngine(home, listener) as engine,
        ):
            for warning in warnings:
                listener.say(f"warning: {warning}")
            jobs = Jobs(home, engine, listener, workflows=workflows, warnings=warnings)
            return await sdk.serve(jobs)
    finally:
        # The SDK's own process, which tells RunPod that we are alive.
        for child in multiprocessing.active_children():
            child.kill()


class Jobs:
    """Answers jobs, one after the other."""

    def __init__(
        self,
        home: Home,
        engine: ResidentEngine,
        listener: Listener,
        *,
        workflows: Path,
        warnings: Sequence[str] = (),
    ) -> None:
        self._home = home
        self._engine = engine
        self._listener = listener
        self._workflows = workflows
        self._warnings = warnings
        self._turn = asyncio.Lock()

    async def answer(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """The result document of `job`, or the failure document. Never raises ComfyError."""
        try:
            async with self._turn:
                request = read_job_input(job.get("input"), self._workflows)
                result = await self._run(request)
        except ComfyError as error:
            return self._failed(job, error)
        except OSError as error:
            return self._failed(job, JobError(f"The system refused: {error}."))
        result["warnings"] = [*self._warnings, *result["warnings"]]
        return result

    async def _run(self, request: JobRequest) -> dict[str, Any]:
        check_graph(self._home, request.graph, place=request.place, listener=self._listener)
        sink = Base64Sink()
        if request.graph.is_empty:
            return await smoke_report(self._home, await self._engine.running(), sink)
        execution = await self._engine.run(
            request.graph, timeout_s=request.timeout_s, strict=request.strict
        )
        return deliver(self._home, self._engine.engine, request.graph, execution, sink)

    def _failed(self, job: Mapping[str, Any], error: ComfyError) -> dict[str, Any]:
        self._listener.say(f"job {job.get('id')}: {error.in_words()}")
        return failure_document(error)


# What the SDK reads its log level from, which `--rp_log_level` replaces.
_LOG_LEVELS = ("RUNPOD_LOG_LEVEL", "RUNPOD_DEBUG_LEVEL")


class _Sdk:
    """RunPod's SDK in a thread: the main thread, which hears signals, belongs to the engine."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._arguments = arguments
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int] = self._loop.create_future()
        self._ready = threading.Event()
        self._jobs: Jobs | None = None
        # It is loaded while the engine boots. A daemon: nothing waits for it at the end.
        threading.Thread(target=self._run, name="runpod-sdk", daemon=True).start()

    async def serve(self, jobs: Jobs) -> int:
        """Lets the SDK take jobs, until it ends; its exit code."""
        self._jobs = jobs
        self._ready.set()
        return await self._ended

    async def _handle(self, job: dict[str, Any]) -> dict[str, Any]:
        assert self._jobs is not None
        # Cancelling this cancels that: so the SDK stops a job.
        work = asyncio.run_coroutine_threadsafe(self._jobs.answer(job), self._loop)
        return await asyncio.wrap_future(work)

    def _run(self) -> None:
        try:
            code = self._start()
        except BaseException as error:
            self._loop.call_soon_threadsafe(self._fail, error)
        else:
            self._loop.call_soon_threadsafe(self._end, code)

    def _start(self) -> int:
        if not any(name in os.environ for name in _LOG_LEVELS):
            # Left alone, it writes every result into its log, pictures and all.
            os.environ[_LOG_LEVELS[0]] = "INFO"
        import runpod.serverless  # type: ignore[import-untyped]

        for name in ("runpod.serverless", "runpod.serverless.modules.rp_scale"):
            # It would take the signals, which only the main thread may, and then wait for jobs.
            importlib.import_module(name).signal = _NoSignals  # type: ignore[attr-defined]
        self._ready.wait()
        sys.argv = [sys.argv[0], *self._arguments]
        try:
            runpod.serverless.start({"handler": self._handle})
        except SystemExit as ended:
            return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        return 0

    def _end(self, code: int) -> None:
        if not self._ended.done():
            self._ended.set_result(code)

    def _fail(self, error: BaseException) -> None:
        if not self._ended.done():
            self._ended.set_exception(
                JobError(f"RunPod's SDK ended: {type(error).__name__}: {error}.")
            )


class _NoSignals:
    """Stands in for the module `signal` in the SDK."""

    SIGINT = signal.SIGINT
    SIGTERM = signal.SIGTERM

    @staticmethod
    def signal(*_: object) -> None:
        pass
