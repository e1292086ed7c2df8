"""What the start-up hook of an engine reports of the outputs of nodes, where it was asked to.

The hook, `start_hook/node_outputs.py`, runs in the engine's own process, which it shares with the
nodes; so a line that is not as expected is skipped.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from comfy_workflows.node_hashes import NodeHashes

_LARGEST_REPORT_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class NodeOutputReport:
    """The nodes that a prompt has run, in that order. `fault` says why they are not known."""

    nodes: list[NodeHashes]
    fault: str | None = None


def read_node_outputs(path: Path, prompt_id: str) -> NodeOutputReport:
    """The report of one prompt in a file."""
    lines = list(_lines(path))
    nodes = []
    for line in lines:
        if line.get("prompt") == prompt_id:
            with contextlib.suppress(ValidationError):
                nodes.append(NodeHashes.model_validate(line))
    return NodeOutputReport(nodes=nodes, fault=_fault(lines))


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open("rb") as stream:
            text = stream.read(_LARGEST_REPORT_BYTES)
    except OSError:
        return
    for line in text.split(b"\n"):
        try:
            document = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(document, dict):
            yield document


def _fault(lines: list[dict[str, Any]]) -> str | None:
    if any(line.get("observed") is True for line in lines):
        return None
    known = next((line["fault"] for line in lines if isinstance(line.get("fault"), str)), None)
    return known or "the start-up hook found no module execution in this ComfyUI"
