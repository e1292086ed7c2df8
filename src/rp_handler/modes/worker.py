"""RunPod mode: a resident engine, and RunPod's SDK, which fetches jobs and returns results."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
import traceback
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from comfy_errors import ComfyError
from comfy_home.output_modes import BY_JOB, BY_VARIABLE
from rp_handler.engine.prompt import Listener
from rp_handler.engine.supervisor import ResidentEngine
from rp_handler.errors import JobError, failure_document, reportable
from rp_handler.home.model_search import ModelSearch
from rp_handler.home.realized import Home
from rp_handler.inputs.policy import InputPolicy
from rp_handler.inputs.scratch import inputs_in_place
from rp_handler.inputs.view import InputView
from rp_handler.interruption import in_thread, together
from rp_handler.job.job import Job
from rp_handler.job.listing import Listed, listing
from rp_handler.job.live import Report
from rp_handler.job.request import JobRequest, parsed_input, read_job_input, read_listed
from rp_handler.job.run import check_graph, run_job
from rp_handler.job_models.in_place import JobModels
from rp_handler.modes.boot import Boot
from rp_handler.modes.health import Health
from rp_handler.modes.sdk import Sdk, require_api_port, require_sdk
from rp_handler.modes.start import WorkerStart, worker_settings
from rp_handler.modes.turns import Turns
from rp_handler.outputs.inline import result_limit_bytes
from rp_handler.outputs.modes import require_in_worker
from rp_handler.outputs.open import Outputs
from rp_handler.outputs.sink import OutputSink
from rp_handler.webhook import Webhooks, webhook_client
from rp_handler.worker_log import WorkerLog


async def serve_jobs(
    home: Home,
    listener: Listener,
    log: WorkerLog,
    *,
    workflows: Path,
    outputs: Outputs,
    output: str,
    sdk_arguments: Sequence[str],
    port: int | None,
    search: ModelSearch | None,
    has_provenance: bool = False,
) -> int:
    """Runs jobs until cancelled, or until the SDK ends, as it does after a test. Returns its exit
    code.

    `workflows` is the folder of workflows that a job may name, `output` the mode of jobs that name
    none, and `has_provenance` counts for jobs that do not say. The engine is ready before the first
    job is taken; it listens on `port`, None for a free one. The bucket is opened while it starts.
    Raises subclasses of ComfyError if it cannot be started or outputs cannot be delivered,
    UnavailableError without the SDK, and for a port of its local API that is in use.
    """
    boot = Boot(os.environ)
    log.of_home(home.manifest)
    require_sdk()
    require_api_port(sdk_arguments)
    settings = worker_settings(os.environ, workflows)
    client = partial(webhook_client, allows_private=settings.inputs.allows_private)
    require_in_worker(output)
    sdk = Sdk(sdk_arguments)
    boot.mark("handler")
    async with contextlib.AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="comfy-input-"))
        view = InputView(Path(folder, "files"), home.root / "input")
        start = WorkerStart(settings, listener, boot, stack)
        starting = start.engine(home, search, view=view, workflows=workflows, port=port)
        ready, _ = await together([starting, outputs.open(output)])
        boot.mark("outputs")
        hooks = Webhooks(settings.webhooks, client, listener.say)
        webhooks = await stack.enter_async_context(hooks)
        for warning in ready.warnings:
            listener.say(f"Warning: {warning}")
        turns = await stack.enter_async_context(Turns(settings.turns, ready.engine, listener))
        stages = {**boot.stages_ms, "total": boot.total_ms}
        listener.note("ready", boot.in_words(), boot_ms=stages)
        jobs = Jobs(
            engine=ready.engine,
            turns=turns,
            health=Health(),
            listener=listener,
            log=log,
            workflows=workflows,
            outputs=outputs,
            output=output,
            has_provenance=has_provenance,
            warnings=ready.warnings,
            view=view,
            policy=settings.inputs,
            models=ready.models,
            webhooks=webhooks,
        )
        return await sdk.serve(jobs.answer)


@dataclass(frozen=True, kw_only=True)
class Jobs:
    """Runs jobs, one after the other."""

    engine: ResidentEngine
    turns: Turns
    health: Health
    listener: Listener
    log: WorkerLog
    workflows: Path
    outputs: Outputs
    output: str
    has_provenance: bool
    warnings: Sequence[str]
    view: InputView
    policy: InputPolicy
    models: JobModels
    webhooks: Webhooks

    async def answer(self, job: Mapping[str, Any], report: Report) -> dict[str, Any]:
        """The result document of `job`, or the failure document. Never raises ComfyError.

        `report` receives what its `events` ask for.
        """
        job_id = str(job.get("id") or uuid.uuid4().hex)
        async with self.turns.next():
            with self.log.of_job(job_id):
                return await self._answered(job_id, job, report)

    async def _answered(
        self, job_id: str, job: Mapping[str, Any], report: Report
    ) -> dict[str, Any]:
        asked, is_lost, began = None, False, time.monotonic()
        self.listener.note("job_started", "")
        try:
            # The input may have megabytes, and it is the first to need the node classes.
            asked = await in_thread(lambda: self._read(job))
            if isinstance(asked, JobRequest):
                self.log.hide(asked.secrets())
            await self.turns.isolate()
            result = await self._result(job_id, asked, report)
            if isinstance(asked, JobRequest):
                self.health.succeeded()
            self.listener.note("job_finished", "", **_facts(result), total_ms=_ms_since(began))
        except asyncio.CancelledError:
            self.listener.note("job_cancelled", "", total_ms=_ms_since(began))
            raise
        except Exception as error:
            result = self._failure(job_id, error, _ms_since(began))
            is_lost = self.health.is_lost(error)
        url = asked.webhook if isinstance(asked, JobRequest) else None
        self.webhooks.post(job_id, url, result)
        if is_lost:
            sentence = "Warning: ComfyUI cannot be brought back; RunPod is to replace this worker."
            self.listener.note("worker_lost", sentence)
            # The SDK takes it out of the result.
            result["refresh_worker"] = True
        return result

    def _failure(self, job_id: str, error: Exception, total_ms: int) -> dict[str, Any]:
        if isinstance(error, ComfyError | OSError):
            fault = reportable(error)
            sentence = fault.in_words()
        else:
            # A fault of this program must not end the worker, nor leave the job without an answer.
            fault = JobError(f"The worker failed: {type(error).__name__}: {error}")
            sentence = "".join(traceback.format_exception(error))
        result = self.log.hidden(failure_document(fault))
        facts = {
            "message": result["error"],
            "error_type": result["error_type"],
            "retryable": result["retryable"],
            "total_ms": total_ms,
        }
        self.listener.note("job_failed", f"job {job_id}: {sentence}", level="error", **facts)
        return result

    async def _result(
        self, job_id: str, asked: JobRequest | Listed, report: Report
    ) -> dict[str, Any]:
        if not isinstance(asked, JobRequest):
            return await in_thread(
                lambda: listing(asked, self.engine.home, self.workflows, self.models)
            )
        sink = await self.outputs.sink(
            asked.output or self.output,
            version_id=self.engine.home.manifest.version_id,
            job=job_id,
            limit_bytes=result_limit_bytes(job_id),
            bucket=asked.bucket,
            instead=BY_JOB if asked.output else BY_VARIABLE,
        )
        result = await run_job(self._job(job_id, asked, sink, report), self.engine)
        if not result["images"] and "counts" not in result:
            # As worker-comfyui has it.
            result["status"] = "success_no_images"
        return result

    def _read(self, job: Mapping[str, Any]) -> JobRequest | Listed:
        value = parsed_input(job.get("input"))
        if listed := read_listed(value):
            return listed
        asked = read_job_input(
            value,
            workflows=self.workflows,
            classes=self.engine.home.recorded_classes,
            environment=os.environ,
            s3_config=job.get("s3Config"),
        )
        # In this thread already, where no file has to be fetched first.
        if asked.strict and asked.is_complete and not asked.graph.is_empty:
            home, folder = self.engine.home, self.engine.input_folder
            is_checked = check_graph(asked.graph, asked.place, home, folder)
            return replace(asked, is_checked=is_checked)
        return asked

    def _job(self, job_id: str, asked: JobRequest, sink: OutputSink, report: Report) -> Job:
        return Job(
            id=job_id,
            graph=asked.graph,
            place=asked.place,
            sink=sink,
            listener=self.listener,
            events=asked.events,
            report=report,
            conversion=asked.conversion,
            has_provenance=self.has_provenance
            if asked.has_provenance is None
            else asked.has_provenance,
            timeout_s=asked.timeout_s,
            strict=asked.strict,
            # ComfyUI decides which parts can run: the check refuses all or nothing.
            is_checked=asked.is_checked or not asked.strict,
            extra_data=asked.extra_data,
            files=inputs_in_place(asked.files, self.view, policy=self.policy, variables=os.environ),
            models=self.models.in_place(asked.models, self.engine),
            warnings=[*self.warnings, *asked.warnings],
        )


def _facts(result: Mapping[str, Any]) -> dict[str, Any]:
    """What the log has of a result: nothing of a list."""
    if "timings" not in result:
        return {}
    files = [*result["images"], *result["files"]]
    return {
        **result["timings"],
        **result.get("memory", {}),
        "files": len(files),
        "bytes": sum(file["bytes"] for file in files),
    }


def _ms_since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
