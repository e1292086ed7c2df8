"""What a report shows, before it is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from comfy_workflows.compare.compare import Comparison
from comfy_workflows.compare.run import Run
from comfy_workflows.graph import Graph

Part = Literal["core", "node", "package", "model", "setting"]


@dataclass(frozen=True, kw_only=True)
class ShownRun:
    """One of the two runs.

    `title` names it: `demo`, `the baseline workflows/x.baseline.json`. `result` is its result
    document; None for a recorded baseline, which has no timings.
    """

    title: str
    run: Run
    result: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class ShownChange:
    """One difference between the two versions. `before` is None for what was added, `after` for
    what was removed.

    `name` is that of a node, a distribution, a model's path or a setting; `key` the part of it that
    differs (`commit`), empty if it is the whole.
    """

    part: Part
    name: str
    key: str = ""
    before: str | None
    after: str | None


@dataclass(frozen=True, kw_only=True)
class Replaced:
    """A node of the workflow whose implementation is not the one it was: its id, its class, and
    a sentence about what changed.
    """

    node: str
    class_type: str
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """A comparison, and what explains it. `workflow` is the name of its file."""

    title: str
    workflow: str
    graph: Graph
    before: ShownRun
    after: ShownRun
    comparison: Comparison
    changes: Sequence[ShownChange] = ()
    replaced: Sequence[Replaced] = ()
