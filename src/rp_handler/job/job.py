"""One job: a graph to run, how, and where its outputs go. `run.py` runs it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from comfy_workflows.graph import Graph
from rp_handler.engine.prompt import Listener, Progress
from rp_handler.job.live import Event, Report
from rp_handler.outputs.sink import OutputSink
from rp_handler.pictures.convert import Conversion


@dataclass(kw_only=True)
class Job:
    """A job of the command line or of a worker.

    `place` names its graph in messages. The `listener` receives this job's progress, the `sink` its
    outputs, after their `conversion`. `timeout_s` limits the whole job in seconds: inputs, every
    run of the graph, and the delivery. With `strict`, a graph of which only a part can run is an
    error. `extra_data` are hidden inputs of nodes, such as keys. `files` puts the job's input files
    into the engine's input folder for the time of a block, and gives their sha256 by name; `models`
    does so for models, by their paths below the models folder. `warnings` are added to its result.
    `report` gets what its `events` ask for while it runs. `at` is the node that runs, if any has
    begun. If it `has_provenance`, its result and pictures say what they were made from.
    """

    id: str
    graph: Graph
    place: str
    sink: OutputSink
    listener: Listener
    conversion: Conversion | None = None
    timeout_s: float | None = None
    strict: bool = False
    extra_data: Mapping[str, Any] = field(default_factory=dict)
    files: AbstractAsyncContextManager[Mapping[str, str]] = field(
        default_factory=lambda: nullcontext({})
    )
    models: AbstractAsyncContextManager[Mapping[str, str]] = field(
        default_factory=lambda: nullcontext({})
    )
    warnings: list[str] = field(default_factory=list)
    events: frozenset[Event] = frozenset()
    report: Report = lambda _: None
    is_checked: bool = False
    has_provenance: bool = False
    at: str | None = None

    def progress(self, progress: Progress) -> None:
        """Takes the progress of its graph."""
        self.at = progress.node
        self.listener.progress(progress)
