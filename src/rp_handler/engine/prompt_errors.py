"""The engine's ways to say no, as errors in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rp_handler.errors import (
    ExecutionError,
    JobCancelledError,
    JobError,
    OutOfMemoryError,
    RefusedPromptError,
)

_TRACEBACK_LINES = 8


def refusal(answer: Mapping[str, Any]) -> RefusedPromptError:
    """The error for an HTTP 400 of `POST /prompt`."""
    node_errors = answer.get("node_errors") or {}
    sentences = node_error_sentences(node_errors)
    error = answer.get("error")
    if not sentences:
        sentences = [_error_sentence(error)]
    faults = f" {sentences[0]}" if len(sentences) == 1 else "".join(f"\n  {it}" for it in sentences)
    return RefusedPromptError(
        f"ComfyUI refused the workflow:{faults}",
        remedy="Mend the workflow.",
        details={"error": error, "node_errors": node_errors},
    )


def node_error_sentences(node_errors: Mapping[str, Any]) -> list[str]:
    """`node_errors` in words, a sentence for each fault."""
    return [
        f"node {node_id} ({errors.get('class_type', '?')}): {_error_sentence(error)}"
        for node_id, errors in node_errors.items()
        for error in errors.get("errors") or ()
    ]


def failure(status: Mapping[str, Any]) -> JobError | None:
    """The error that a history entry's `status` tells of, or None if the prompt succeeded."""
    messages = dict(status.get("messages") or ())
    if "execution_error" in messages:
        return _execution_error(messages["execution_error"])
    if "execution_interrupted" in messages:
        node = messages["execution_interrupted"]
        return JobCancelledError(
            f"The run was interrupted at node {node.get('node_id')} ({node.get('node_type')}).",
            remedy="Run it again.",
            details={"node": node.get("node_id"), "class_type": node.get("node_type")},
        )
    if status.get("status_str") == "error":
        return ExecutionError("ComfyUI reports a failed run without saying why.")
    return None


def _execution_error(data: Mapping[str, Any]) -> ExecutionError:
    node, class_type = data.get("node_id"), data.get("node_type")
    exception = str(data.get("exception_type") or "an exception")
    text = str(data.get("exception_message") or "").strip()
    traceback = "".join(data.get("traceback") or ()).splitlines()
    lines = [line for line in traceback if line.strip(" ^~")][-_TRACEBACK_LINES:]
    out_of_memory = "OutOfMemory" in exception or exception.endswith("MemoryError")
    quoted = "".join(f"\n  {line}" for line in lines)
    kind = OutOfMemoryError if out_of_memory else ExecutionError
    return kind(
        f"Node {node} ({class_type}) failed with {exception}: {text}"
        + (f"\nIts traceback ends with:{quoted}" if quoted else ""),
        remedy="Use smaller sizes or a machine with more memory."
        if out_of_memory
        else "Look at the node's inputs; --verbose shows the engine's log.",
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
