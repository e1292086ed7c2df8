"""Graphs of the fixture core's nodes, in the engine's own format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def saving(content: object, **changes: object) -> dict[str, Any]:
    """A node that saves a text as the file `x_00001.txt`."""
    usual = {"content": content, "prefix": "x", "suffix": ".txt", "key": "files"}
    return node("FixtureSave", **(usual | changes))


SAVE = {"1": saving("hello")}
SLEEP = {"1": node("FixtureSleep")}


def write_graph(path: Path, graph: object) -> str:
    """Writes a graph; gives its path for a command line."""
    path.write_text(json.dumps(graph), encoding="utf-8")
    return str(path)
