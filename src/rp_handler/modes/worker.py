"""RunPod mode: a resident engine, and RunPod's SDK, which fetches jobs and returns results."""

from __future__ import annotations

import asyncio
import os
import tempfile
import traceback
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from comfy_errors import ComfyError
from rp_handler.engine.prompt import Listener, Progress
from rp_handler.engine.supervisor import ResidentEngine
from rp_handler.errors import JobError, failure_document, reportable
from rp_handler.home.model_search import ModelSearch
from rp_handler.home.models import models_at_hand
from rp_handler.home.realized import Home
from rp_handler.inputs.policy import InputPolicy, input_policy
from rp_handler.inputs.scratch import inputs_in_place
from rp_handler.inputs.view import InputView
from rp_handler.interruption import in_thread
from rp_handler.job.job import Job
from rp_handler.job.listing import Listed, listing
from rp_handler.job.request import JobRequest, parsed_input, read_job_input, read_listed
from rp_handler.job.run import run_job
from rp_handler.modes.sdk import Report, Sdk, require_sdk
from rp_handler.modes.warm_up import WORKFLOW, check_warm_up, warm_up
from rp_handler.outputs.inline import result_limit_bytes
from rp_handler.outputs.modes import require_in_worker
from rp_handler.outputs.open import Outputs
from rp_handler.outputs.sink import OutputSink
from rp_handler.webhook import Webhooks, webhook_client, webhook_settings


async def serve_jobs(
    home: Home,
    listener: Listener,
    *,
    workflows: Path,
    outputs: Outputs,
    output: str,
    sdk_arguments: Sequence[str],
    search: ModelSearch | None,
) -> int:
    """Runs jobs until cancelled, or until the SDK ends, as it does after a test. Returns its exit
    code.

    `workflows` is the folder of workflows that a job may name, `output` the mode of jobs that name
    none. The engine is ready before the first job is taken. Raises subclasses of ComfyError if it
    cannot be started or outputs cannot be delivered, UnavailableError without the SDK.
    """
    require_sdk()
    policy = input_policy(os.environ)
    hooks = webhook_settings(os.environ)
    client = partial(webhook_client, allows_private=policy.allows_private)
    warm_up_workflow = os.environ.get(WORKFLOW)
    if warm_up_workflow:
        check_warm_up(warm_up_workflow, workflows)
    require_in_worker(output)
    await outputs.open(output)
    sdk = Sdk(sdk_arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="comfy-input-") as folder:
            view = InputView(Path(folder, "files"), home.root / "input")
            async with (
                models_at_hand(home, search, say=listener.say) as (home, warnings),
                ResidentEngine(home, listener, input_folder=view.root) as engine,
                Webhooks(hooks, client, listener.say) as webhooks,
            ):
                for warning in warnings:
                    listener.say(f"Warning: {warning}")
                jobs = Jobs(
                    engine=engine,
                    listener=listener,
                    workflows=workflows,
                    outputs=outputs,
                    output=output,
                    warnings=warnings,
                    view=view,
                    policy=policy,
                    webhooks=webhooks,
                )
                if warm_up_workflow:
                    await warm_up(engine, warm_up_workflow, workflows, listener)
                return await sdk.serve(jobs.answer)
    finally:
        sdk.kill_heartbeat()


@dataclass(frozen=True, kw_only=True)
class Jobs:
    """Runs jobs, one after the other."""

    engine: ResidentEngine
    listener: Listener
    workflows: Path
    outputs: Outputs
    output: str
    warnings: Sequence[str]
    view: InputView
    policy: InputPolicy
    webhooks: Webhooks
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def answer(self, job: Mapping[str, Any], report: Report) -> dict[str, Any]:
        """The result document of `job`, or the failure document. Never raises ComfyError.

        `report` receives its progress if it asks for that.
        """
        job_id, asked = str(job.get("id") or uuid.uuid4().hex), None
        try:
            async with self._turn:
                # The input may have megabytes, and it is the first to need the node classes.
                asked = await in_thread(lambda: self._read(job.get("input")))
                result = await self._result(job_id, asked, report)
        except (ComfyError, OSError) as error:
            self.listener.say(f"job {job_id}: {reportable(error).in_words()}")
            result = failure_document(reportable(error))
        except Exception as error:
            # A fault of this program must not end the worker, nor leave the job without an answer.
            self.listener.say(f"job {job_id}: {traceback.format_exc()}")
            fault = JobError(f"The worker failed: {type(error).__name__}: {error}")
            result = failure_document(fault)
        url = asked.webhook if isinstance(asked, JobRequest) else None
        self.webhooks.post(job_id, url, result)
        return result

    async def _result(
        self, job_id: str, asked: JobRequest | Listed, report: Report
    ) -> dict[str, Any]:
        if not isinstance(asked, JobRequest):
            return await in_thread(lambda: listing(asked, self.engine.home, self.workflows))
        sink = await self.outputs.sink(
            asked.output or self.output,
            version_id=self.engine.home.manifest.version_id,
            job=job_id,
            limit_bytes=result_limit_bytes(job_id),
        )
        result = await run_job(self._job(job_id, asked, sink, report), self.engine)
        if not result["images"] and "counts" not in result:
            # As worker-comfyui has it.
            result["status"] = "success_no_images"
        return result

    def _read(self, document: object) -> JobRequest | Listed:
        value = parsed_input(document)
        return read_listed(value) or read_job_input(
            value,
            workflows=self.workflows,
            classes=self.engine.home.recorded_classes,
            environment=os.environ,
        )

    def _job(self, job_id: str, asked: JobRequest, sink: OutputSink, report: Report) -> Job:
        def progress(progress: Progress) -> None:
            if "progress" in asked.events:
                report(asdict(progress))

        return Job(
            id=job_id,
            graph=asked.graph,
            place=asked.place,
            sink=sink,
            listener=replace(self.listener, progress=progress),
            timeout_s=asked.timeout_s,
            strict=asked.strict,
            extra_data=asked.extra_data,
            files=inputs_in_place(asked.files, self.view, policy=self.policy, variables=os.environ),
            warnings=[*self.warnings, *asked.warnings],
        )
