"""What the engine says over its WebSocket while it runs one prompt, as state and as timings."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from comfy_workflows.graph import Graph


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a running graph is.

    `node` runs now and is a `class_type`; it is at `step` of `steps` if it says so, where nodes
    that tell fractions have 1.0 for `steps`.
    `done` of the graph's `total` nodes are finished.
    """

    node: str
    class_type: str
    done: int
    total: int
    step: float | None = None
    steps: float | None = None


ProgressSay = Callable[[Progress], None]


@dataclass(frozen=True, kw_only=True)
class Timings:
    """In milliseconds: in the queue, running, and by node id."""

    queue_ms: int
    run_ms: int
    nodes: Mapping[str, int]


@dataclass(kw_only=True)
class PromptEvents:
    """Takes the engine's messages one by one; tells progress; knows when the prompt has ended."""

    graph: Graph
    prompt_id: str
    say: ProgressSay
    posted: float = field(default_factory=time.monotonic)
    running: str | None = None
    _started: float | None = None
    _ended: float | None = None
    _done: set[str] = field(default_factory=set)
    _node_began: float = 0.0
    _node_ms: dict[str, float] = field(default_factory=dict)

    def take(self, event: str, data: Mapping[str, Any]) -> bool:
        """Takes one message. True if it says that the engine is through with the prompt."""
        if data.get("prompt_id") != self.prompt_id:
            return False
        if event == "execution_start":
            self._started = time.monotonic()
        elif event == "execution_cached":
            self._done.update(str(node) for node in data.get("nodes") or ())
        elif event == "executing":
            return self._executing(data)
        elif event == "progress":
            self._progress(data)
        elif event == "progress_state":
            self._progress_state(data)
        elif event in ("execution_success", "execution_error", "execution_interrupted"):
            self._leave_node()
        return False

    def timings(self) -> Timings:
        """What was measured up to now."""
        end = self._ended or time.monotonic()
        started = self._started or end
        return Timings(
            queue_ms=round((started - self.posted) * 1000),
            run_ms=round((end - started) * 1000),
            nodes={node: round(spent) for node, spent in self._node_ms.items()},
        )

    def _executing(self, data: Mapping[str, Any]) -> bool:
        self._leave_node()
        if data.get("node") is None:
            self._ended = time.monotonic()
            return True
        # Nodes that a node put into the graph while it ran are shown as that node.
        self.running = str(data.get("display_node") or data["node"])
        self._node_began = time.monotonic()
        self._tell(self.running)
        return False

    def _leave_node(self) -> None:
        if self.running is None:
            return
        spent = (time.monotonic() - self._node_began) * 1000
        self._node_ms[self.running] = self._node_ms.get(self.running, 0.0) + spent
        self._done.add(self.running)
        self.running = None

    def _progress(self, data: Mapping[str, Any]) -> None:
        if self.running is not None:
            self._tell(self.running, step=data.get("value"), steps=data.get("max"))

    def _progress_state(self, data: Mapping[str, Any]) -> None:
        """Nodes of the newer interface say how far they are in this way only."""
        for node_id, state in (data.get("nodes") or {}).items():
            # Every node is at 0 of 1 when it begins.
            if state.get("state") == "running" and state.get("value"):
                node = str(state.get("display_node_id") or node_id)
                self._tell(node, step=state.get("value"), steps=state.get("max"))

    def _tell(self, node_id: str, *, step: object = None, steps: object = None) -> None:
        node = self.graph.nodes.get(node_id)
        self.say(
            Progress(
                node=node_id,
                class_type=node.class_type if node else "",
                done=len(self._done & self.graph.nodes.keys()),
                total=len(self.graph.nodes),
                step=_number(step),
                steps=_number(steps),
            )
        )


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) else None
