"""What the engine reports about one prompt: progress, timings, and its errors as messages."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from comfy_errors.names import escaped, in_lines
from comfy_workflows.graph import Graph, as_reasons
from rp_handler.engine.command import EngineFolders
from rp_handler.engine.preview import Preview, preview_of
from rp_handler.errors import (
    DeviceFaultError,
    JobCancelledError,
    JobError,
    OutOfMemoryError,
    RefusedPromptError,
)

_TRACEBACK_LINES = 8
# How PyTorch reports errors of the driver. Of these two, a process recovers.
_DEVICE_FAULT = re.compile(r"\b(?:CUDA|HIP) error: (?!out of memory|no kernel image)")


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a running graph is.

    `node` runs now and has the class `class_type`. It is at `step` of `steps` if it reports that;
    `steps` is 1.0 for nodes that report fractions. `done` of the graph's `total` nodes are
    finished. `title` is the node's name in the editor, empty without one.
    """

    node: str
    class_type: str
    done: int
    total: int
    step: float | None = None
    steps: float | None = None
    title: str = ""


ProgressSay = Callable[[Progress], None]


@dataclass(frozen=True, kw_only=True)
class Listener:
    """Receives news of a run: messages, progress of nodes, and the engine's log if that is not
    None. A worker also takes `events`, each with its name, a sentence and facts.
    """

    say: Callable[[str], None]
    progress: ProgressSay
    log: Callable[[str], None] | None = None
    events: Callable[..., None] | None = None

    def note(self, event: str, sentence: str, **facts: Any) -> None:
        """Reports an event: to people, `sentence` alone."""
        if self.events is not None:
            self.events(event, sentence, **facts)
        else:
            self.say(sentence)


class Watch(Protocol):
    """Follows what the nodes of a run show before its end."""

    def begin(self, folders: EngineFolders) -> None:
        """The run begins, or begins again; its files will be in `folders`."""

    def executed(self, node: str, shown: Mapping[str, Any]) -> None:
        """A node has run, with this in the history."""

    def preview(self, preview: Preview) -> None:
        """A node shows a picture while it runs."""

    async def settled(self) -> None:
        """Returns when the run's files may be moved."""


@dataclass(frozen=True, kw_only=True)
class Timings:
    """Milliseconds in the queue, running, and by node id."""

    queue_ms: int = 0
    run_ms: int = 0
    nodes: dict[str, int] = field(default_factory=dict)


@dataclass(kw_only=True)
class PromptEvents:
    """Handles the engine's messages one by one, reports progress, notices the prompt's end.

    `ran` are the nodes known to have run, including those that a node added to the graph.
    """

    graph: Graph
    prompt_id: str
    say: ProgressSay
    watch: Watch | None = None
    posted: float = field(default_factory=time.monotonic)
    running: str | None = None
    ran: set[str] = field(default_factory=set)
    _started: float | None = None
    _ended: float | None = None
    _done: set[str] = field(default_factory=set)
    _node_began: float = 0.0
    _node_ms: dict[str, float] = field(default_factory=dict)

    def take(self, event: str, data: Mapping[str, Any]) -> bool:
        """Handles one message. Returns True if it says that the engine is done with the prompt."""
        if data.get("prompt_id") != self.prompt_id:
            return False
        if event == "execution_start":
            self._started = time.monotonic()
        elif event == "execution_cached":
            self._done.update(str(node) for node in data.get("nodes") or ())
        elif event == "executing":
            return self._executing(data)
        elif event == "progress" and self.running is not None:
            self._tell(self.running, data)
        elif event == "progress_state":
            # Nodes of the newer interface report progress only this way.
            for node_id, state in (data.get("nodes") or {}).items():
                # Every node is at 0 of 1 when it begins.
                if state.get("state") == "running" and state.get("value"):
                    self._tell(str(state.get("display_node_id") or node_id), state)
        elif event == "executed" and self.watch is not None:
            # The files of a node in the engine's cache are those of an earlier run.
            if str(data.get("node")) in self.ran:
                self.watch.executed(str(data["node"]), data.get("output") or {})
        elif event in ("execution_success", "execution_error", "execution_interrupted"):
            self._leave_node()
        return False

    def take_binary(self, message: bytes) -> None:
        """Handles a message that is not JSON: a preview."""
        if self.watch is None:
            return
        preview = preview_of(message, prompt_id=self.prompt_id, running=self.running)
        if preview is not None:
            self.watch.preview(preview)

    def when(self) -> str:
        """What the engine is doing, as the end of a sentence."""
        if self.running is None:
            return "while running the workflow"
        node = self.graph.nodes.get(self.running)
        return escaped(
            f"while running node {self.running}" + (f" ({node.class_type})" if node else "")
        )

    def timings(self) -> Timings:
        """The measurements so far."""
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
        self.ran.add(str(data["node"]))
        # Nodes that a node adds to the graph while it runs are shown as that node.
        self.running = str(data.get("display_node") or data["node"])
        self._node_began = time.monotonic()
        self._tell(self.running, {})
        return False

    def _leave_node(self) -> None:
        if self.running is None:
            return
        spent = (time.monotonic() - self._node_began) * 1000
        self._node_ms[self.running] = self._node_ms.get(self.running, 0.0) + spent
        self._done.add(self.running)
        self.running = None

    def _tell(self, node_id: str, state: Mapping[str, Any]) -> None:
        node = self.graph.nodes.get(node_id)
        self.say(
            Progress(
                node=node_id,
                class_type=node.class_type if node else "",
                title=node.title if node else "",
                done=len(self._done & self.graph.nodes.keys()),
                total=len(self.graph.nodes),
                step=_number(state.get("value")),
                steps=_number(state.get("max")),
            )
        )


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) else None


def entries_of(shown: Any) -> Iterator[Any]:
    """The entries of files (objects with a `filename`) and the texts of one node in the history,
    under any key.
    """
    for values in shown.values() if isinstance(shown, Mapping) else ():
        if isinstance(values, list):
            if all(isinstance(value, str) for value in values):
                yield from values
            for value in values:
                if isinstance(value, Mapping) and isinstance(value.get("filename"), str):
                    yield value


def refusal(answer: Mapping[str, Any]) -> RefusedPromptError:
    """The error for an HTTP 400 of `POST /prompt`."""
    node_errors = answer.get("node_errors") or {}
    error = answer.get("error")
    sentences = node_error_sentences(node_errors) or [_error_sentence(error)]
    return RefusedPromptError(
        f"ComfyUI refused the workflow{as_reasons(sentences)}",
        remedy="Correct the workflow.",
        details={"error": error, "node_errors": node_errors},
    )


def node_error_sentences(node_errors: Mapping[str, Any]) -> list[str]:
    """`node_errors` as text, one sentence per fault."""
    return [
        escaped(f"node {node_id} ({errors.get('class_type', '?')}): ") + _error_sentence(error)
        for node_id, errors in node_errors.items()
        for error in errors.get("errors") or ()
    ]


def failure(status: Mapping[str, Any]) -> JobError | None:
    """The error reported by a history entry's `status`, or None if the prompt succeeded."""
    messages = dict(status.get("messages") or ())
    if "execution_error" in messages:
        return _execution_error(messages["execution_error"])
    if "execution_interrupted" in messages:
        node = messages["execution_interrupted"]
        return JobCancelledError(
            escaped(
                f"The run was interrupted at node {node.get('node_id')} ({node.get('node_type')})."
            ),
            remedy="Run it again.",
            details={"node": node.get("node_id"), "class_type": node.get("node_type")},
        )
    if status.get("status_str") == "error":
        return JobError("ComfyUI reports a failed run without a reason.")
    return None


def _execution_error(data: Mapping[str, Any]) -> JobError:
    node, class_type = data.get("node_id"), data.get("node_type")
    exception = str(data.get("exception_type") or "an exception")
    text = str(data.get("exception_message") or "").strip()
    traceback = "".join(data.get("traceback") or ()).splitlines()
    lines = [line for line in traceback if line.strip(" ^~")][-_TRACEBACK_LINES:]
    out_of_memory = "OutOfMemory" in exception or exception.endswith("MemoryError")
    quoted = in_lines(lines)
    is_device_fault = _DEVICE_FAULT.search(text) is not None
    kind = OutOfMemoryError if out_of_memory else DeviceFaultError if is_device_fault else JobError
    return kind(
        f"{escaped(f'Node {node} ({class_type}) failed with {exception}')}: {text}"
        + (f"\nThe traceback ends with:{quoted}" if quoted else ""),
        remedy="Use smaller sizes or a machine with more memory."
        if out_of_memory
        else "Check the node's inputs; --verbose shows the engine's log.",
        details={
            "node": node,
            "class_type": class_type,
            "exception": exception,
            "message": text,
            "traceback": lines,
        },
    )


def _error_sentence(error: Any) -> str:
    if not isinstance(error, Mapping):
        return str(error or "it gave no reason")
    message, details = str(error.get("message") or ""), str(error.get("details") or "")
    if not details or details == message:
        return message or str(error.get("type"))
    return f"{message}: {details}"
