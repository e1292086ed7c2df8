"""A job, from a workflow file to a delivered result."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfy_workflows.graph import Graph
from comfy_workflows.load import load_workflow
from comfy_workflows.preflight import preflight
from rp_handler.engine.client import EngineClient, Execution
from rp_handler.engine.command import LOOPBACK, EngineSetup
from rp_handler.engine.process import Engine
from rp_handler.engine.prompt_events import ProgressSay
from rp_handler.home.model_paths import write_model_paths
from rp_handler.home.model_search import ModelSearch
from rp_handler.home.models_at_start import models_at_hand
from rp_handler.home.realized import Home
from rp_handler.home.writable import can_write
from rp_handler.job.outputs import collect_outputs
from rp_handler.job.result import result_document, version_document
from rp_handler.job.sinks import OutputSink
from rp_handler.job.smoke import smoke_report


@dataclass(frozen=True, kw_only=True)
class Listener:
    """Who hears about a run: sentences, progress of nodes, and the engine's log (None: nobody)."""

    say: Callable[[str], None]
    progress: ProgressSay
    log: Callable[[str], None] | None = None


async def run_workflow(
    home: Home,
    workflow: Path,
    sink: OutputSink,
    listener: Listener,
    *,
    port: int | None = None,
    timeout_s: float | None = None,
    strict: bool = False,
    search: ModelSearch | None = None,
) -> dict[str, Any]:
    """Runs the graph in the file `workflow` on an engine of its own; gives the result document.

    `timeout_s` limits the run itself, not the engine's start. `search` says how the version's
    models are looked for first, None not at all. Raises ComfyError's children.
    """
    graph = load_workflow(workflow)
    # The smoke test is to tell what a machine has, and not to fail for what it lacks.
    at_hand = models_at_hand(home, search, say=listener.say, are_used=not graph.is_empty)
    try:
        async with at_hand as (home, warnings):
            check_graph(home, graph, place=str(workflow), listener=listener)
            with one_run_setup(home) as setup:
                listener.say(f"Starting ComfyUI of {home.path}.")
                async with Engine(setup, port=port, log_say=listener.log) as engine:
                    listener.say(f"ComfyUI was ready after {engine.start_ms / 1000:.1f} s.")
                    if graph.is_empty:
                        result = await smoke_report(home, engine, sink)
                    else:
                        result = await run_graph(
                            home, engine, graph, sink, listener, timeout_s=timeout_s, strict=strict
                        )
                    result["warnings"] = [*warnings, *result["warnings"]]
                    sink.finish(result)
        return result
    finally:
        sink.abandon()


async def run_graph(
    home: Home,
    engine: Engine,
    graph: Graph,
    sink: OutputSink,
    listener: Listener,
    *,
    timeout_s: float | None,
    strict: bool,
) -> dict[str, Any]:
    """Runs `graph` on a running engine, gives its files to `sink`; the result document."""
    async with EngineClient(engine) as client:
        execution = await client.run(
            graph, say=listener.progress, timeout_s=timeout_s, strict=strict
        )
    return deliver(home, engine, graph, execution, sink)


def deliver(
    home: Home, engine: Engine, graph: Graph, execution: Execution, sink: OutputSink
) -> dict[str, Any]:
    """Gives the files of a finished run to `sink`; the result document."""
    outputs = collect_outputs(execution.outputs, graph, engine.folders)
    return result_document(
        outputs,
        sink,
        timings=execution.timings,
        version=version_document(home, engine.stats),
        warnings=execution.warnings,
    )


def check_graph(home: Home, graph: Graph, *, place: str, listener: Listener) -> None:
    """Raises if the version at `home` cannot run `graph`, as far as that is known beforehand."""
    object_info = home.object_info()
    if object_info is None:
        listener.say("This home was never checked: only ComfyUI itself will check the workflow.")
    elif not graph.is_empty:
        preflight(
            graph,
            object_info=object_info,
            models=home.model_folders(),
            input_folder=home.input_folder,
            place=place,
        )


@contextlib.contextmanager
def one_run_setup(home: Home) -> Iterator[EngineSetup]:
    """How the engine of `home` is started for one run: its inputs, but fresh outputs.

    Fresh ones, because ComfyUI numbers its files after those that are there already.
    """
    with extra_models_of(home) as extra_model_paths:
        yield engine_setup(home, output_folder=None, extra_model_paths=extra_model_paths)


@contextlib.contextmanager
def extra_models_of(home: Home) -> Iterator[Path | None]:
    """A file that names the models folders of `home` that are not its own, or None."""
    if home.other_models is None and home.linked_models is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="comfy-models-") as folder:
        path = Path(folder) / "extra_model_paths.yaml"
        write_model_paths(path, home.other_models, home.model_folders(), links=home.linked_models)
        yield path


def engine_setup(
    home: Home,
    *,
    output_folder: Path | None,
    extra_model_paths: Path | None,
    database: Path | None = None,
    listen: str = LOOPBACK,
) -> EngineSetup:
    """The engine of `home` with what its manifest says about it.

    Folders that cannot be written, as in a container without a writable root, are replaced by
    temporary ones.
    """
    check = home.manifest.check
    return EngineSetup(
        core=home.core,
        python=home.python,
        arguments=home.manifest.comfy_args,
        variables=home.manifest.env,
        flags=frozenset(check.flags if check else ()),
        cuda=home.manifest.cuda,
        listen=listen,
        # One that nobody can write to still holds what workflows read.
        input_folder=_writable(home.input_folder) or _filled(home.input_folder),
        output_folder=output_folder and _writable(output_folder),
        user_folder=_writable(home.user_folder),
        database=database if database and can_write(database.parent) else None,
        extra_model_paths=extra_model_paths,
    )


def _writable(folder: Path) -> Path | None:
    return folder if can_write(folder) else None


def _filled(folder: Path) -> Path | None:
    return folder if folder.is_dir() and any(folder.iterdir()) else None
