"""A job, from its graph to a delivered result: for the command line and for a worker."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from comfy_workflows.graph import Graph, load_workflow
from comfy_workflows.preflight import MissingNodesError, preflight
from rp_handler.engine.prompt import Listener, Progress
from rp_handler.engine.supervisor import SENDING_S, ResidentEngine, Run
from rp_handler.errors import JobTimeoutError
from rp_handler.home.model_search import ModelSearch
from rp_handler.home.models import models_at_hand
from rp_handler.home.realized import Home
from rp_handler.inputs.cache_key import with_digests
from rp_handler.interruption import in_thread, together
from rp_handler.job.delivery import Delivery
from rp_handler.job.job import Job
from rp_handler.job.live import Live, preview_extra_data, preview_warnings
from rp_handler.job.models import models_in_result
from rp_handler.job.provenance import provenance_of, texts_for_pictures
from rp_handler.job.result import result_document, smoke_report
from rp_handler.job_models.cache_key import with_model_digests
from rp_handler.outputs.sink import OutputSink
from rp_handler.sendable import sendable


async def run_workflow(
    home: Home,
    workflow: Path,
    sink: OutputSink,
    listener: Listener,
    *,
    port: int | None,
    timeout_s: float | None,
    search: ModelSearch | None,
    has_provenance: bool = False,
    hashes_nodes: bool = False,
) -> dict[str, Any]:
    """Runs the graph in the file `workflow` on an engine of its own; returns the result document.

    `timeout_s` does not include the engine's start. `search` says how to search for the version's
    models first; None skips that. `has_provenance` is as in `Job`; with `hashes_nodes` the document
    has `node_hashes`. Raises subclasses of ComfyError.
    """
    graph = load_workflow(workflow)
    job = Job(
        id=uuid.uuid4().hex,
        graph=graph,
        place=str(workflow),
        sink=sink,
        listener=listener,
        timeout_s=timeout_s,
        has_provenance=has_provenance,
    )
    try:
        # The smoke test reports what a machine has, and does not fail for missing models.
        at_hand = models_at_hand(home, search, say=listener.say, are_used=not graph.is_empty)
        async with at_hand as (home, warnings):
            job.warnings += warnings
            await check_job(job, home, home.root / "input")
            starting = ResidentEngine(home, listener, port=port, hashes_nodes=hashes_nodes)
            async with starting as engine:
                return await run_job(job, engine)
    finally:
        await sink.abandon()


async def run_job(job: Job, engine: ResidentEngine) -> dict[str, Any]:
    """Runs `job` and delivers its outputs; returns the result document.

    If it fails or is cancelled, none of its outputs are kept. Raises subclasses of ComfyError, and
    OSError.
    """
    limit = asyncio.timeout(job.timeout_s)
    try:
        async with (
            limit,
            job.files as files,
            job.models as models,
            Delivery(job.sink, job.conversion) as delivery,
        ):
            job.graph = with_model_digests(with_digests(job.graph, files), models)
            await check_job(job, engine.home, engine.input_folder)
            result = sendable(await _result(job, engine, delivery, files))
            result["warnings"] = [*job.warnings, *result["warnings"]]
            await job.sink.finish(result)
        return result
    except TimeoutError as error:
        if not limit.expired():
            raise
        at = f", at node {job.at}" if job.at else ""
        raise JobTimeoutError(
            f"The job did not finish within {job.timeout_s:g} seconds{at}.",
            remedy='Give it more time, with --timeout or with "timeout" in its input.',
            details={"node": job.at, "log": engine.last_log()},
        ) from error
    finally:
        await job.sink.abandon()


async def _result(
    job: Job, engine: ResidentEngine, delivery: Delivery, files: Mapping[str, str]
) -> dict[str, Any]:
    if job.graph.is_empty:
        return await smoke_report(engine.home, await engine.running())
    more = {}
    if job.has_provenance:
        more["provenance"] = await _provenance(job, engine, delivery, files)
    run, models = await together([_run(job, engine, delivery), _models(job.graph, engine.home)])
    result = await result_document(engine.home, engine.engine, job.graph, run, delivery)
    return {**result, "models": models, **more}


async def _provenance(
    job: Job, engine: ResidentEngine, delivery: Delivery, files: Mapping[str, str]
) -> dict[str, Any]:
    """What the job is made from, which its pictures get."""
    running = await engine.running()
    found = await in_thread(
        lambda: provenance_of(job.graph, engine.home, running, files, engine.input_folder)
    )
    delivery.put_into_pictures(texts_for_pictures(found, job.graph, engine.home))
    return found


async def _models(graph: Graph, home: Home) -> list[dict[str, Any]]:
    # The graph is sent first; a busy thread would delay that.
    await asyncio.sleep(SENDING_S)
    return await in_thread(lambda: models_in_result(graph, home))


async def _run(job: Job, engine: ResidentEngine, delivery: Delivery) -> Run:
    if job.events:
        return await _run_live(job, engine, delivery)
    return await engine.run(
        job.graph, say=job.progress, strict=job.strict, extra_data=job.extra_data
    )


async def _run_live(job: Job, engine: ResidentEngine, delivery: Delivery) -> Run:
    extra_data = dict(job.extra_data)
    if "previews" in job.events:
        extra_data |= preview_extra_data(engine.home.manifest.comfy_args)
        job.warnings += await in_thread(lambda: preview_warnings(engine.home))
    async with Live(job.events, job.report, delivery) as live:

        def progress(progress: Progress) -> None:
            job.progress(progress)
            live.progress(progress)

        return await engine.run(
            job.graph, say=progress, watch=live, strict=job.strict, extra_data=extra_data
        )


async def check_job(job: Job, home: Home, input_folder: Path) -> None:
    """Raises if it is known beforehand that the version at `home` cannot run the job's graph, with
    the files in `input_folder`.
    """
    if job.is_checked or job.graph.is_empty:
        return
    # It looks up models, which may be on a slow volume.
    if not await in_thread(lambda: check_graph(job.graph, job.place, home, input_folder)):
        job.listener.say(
            "This home was never checked, so only ComfyUI itself will check the workflow."
        )
    job.is_checked = True


def check_graph(graph: Graph, place: str, home: Home, input_folder: Path) -> bool:
    """Raises as `check_job` does. Returns False if nothing is known about the version's node
    classes. Reads folders.
    """
    if home.recorded_classes is None:
        return False
    manifest, absent = home.manifest, home.manifest.not_imported
    is_of_job = input_folder != home.root / "input"
    try:
        preflight(
            graph,
            object_info=home.recorded_classes,
            models=home.model_folders(),
            input_folder=input_folder,
            custom_nodes=home.custom_nodes,
            place=place,
            also_not_in=", nor among the job's images and files" if is_of_job else "",
            # Their classes are unknown until ComfyUI has started here.
            knows_all_classes=all(
                manifest.unmet_here(node.needs, os.environ) for node in absent.values()
            ),
        )
    except MissingNodesError as error:
        notes = "".join(f" Note: {node.in_words(name)}." for name, node in absent.items())
        raise MissingNodesError(
            error.message, remedy=f"{error.remedy}{notes}", problems=error.problems
        ) from error
    return True
