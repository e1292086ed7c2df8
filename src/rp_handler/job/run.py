"""A job, from a workflow file to a delivered result."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from comfy_workflows.graph import Graph, load_workflow
from comfy_workflows.preflight import MissingNodesError, preflight
from rp_handler.engine.prompt import Listener
from rp_handler.engine.supervisor import ResidentEngine
from rp_handler.home.model_search import ModelSearch
from rp_handler.home.models import models_at_hand
from rp_handler.home.realized import Home
from rp_handler.job.result import result_document, smoke_report
from rp_handler.outputs.sink import OutputSink


async def run_workflow(
    home: Home,
    workflow: Path,
    sink: OutputSink,
    listener: Listener,
    *,
    port: int | None,
    timeout_s: float | None,
    search: ModelSearch | None,
) -> dict[str, Any]:
    """Runs the graph in the file `workflow` on an engine of its own; returns the result document.

    `timeout_s` limits the run itself, not the engine's start. `search` says how to search for the
    version's models first; None skips that. Raises subclasses of ComfyError.
    """
    graph = load_workflow(workflow)
    # The smoke test reports what a machine has, and does not fail for missing models.
    at_hand = models_at_hand(home, search, say=listener.say, are_used=not graph.is_empty)
    try:
        async with at_hand as (home, warnings):
            check_graph(home, graph, place=str(workflow), listener=listener)
            async with ResidentEngine(home, listener, port=port) as engine:
                result = await run_graph(engine, graph, sink, timeout_s=timeout_s)
                result["warnings"] = [*warnings, *result["warnings"]]
                await sink.finish(result)
        return result
    finally:
        await sink.abandon()


async def run_graph(
    engine: ResidentEngine,
    graph: Graph,
    sink: OutputSink,
    *,
    timeout_s: float | None,
    strict: bool = False,
) -> dict[str, Any]:
    """Runs `graph`, passes its files to `sink`, and returns the result document."""
    if graph.is_empty:
        return await smoke_report(engine.home, await engine.running())
    execution = await engine.run(graph, timeout_s=timeout_s, strict=strict)
    return await result_document(engine.home, engine.engine, graph, execution, sink)


def check_graph(home: Home, graph: Graph, *, place: str, listener: Listener) -> None:
    """Raises if it is known beforehand that the version at `home` cannot run `graph`."""
    object_info = home.read_object_info()
    if object_info is None:
        listener.say("This home was never checked, so only ComfyUI itself will check the workflow.")
        return
    if graph.is_empty:
        return
    manifest, absent = home.manifest, home.manifest.not_imported
    try:
        preflight(
            graph,
            object_info=object_info,
            models=home.model_folders(),
            input_folder=home.root / "input",
            custom_nodes=home.custom_nodes,
            place=place,
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
