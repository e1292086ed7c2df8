"""`--explain`: names the node whose output differs first between two runs of one version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_errors import ComfyError
from runpod_comfy.cli.proof.runs import Runner
from runpod_comfy.cli.show.console import Console

if TYPE_CHECKING:
    from comfy_workflows.compare.compare import Comparison

EXPLAIN_HELP = "where outputs differ, run once more and name the node that differs first"


def explained(
    comparison: Comparison,
    workflow: Path,
    console: Console,
    *,
    runners: Sequence[Runner],
    first: Mapping[str, Any] | None = None,
) -> Comparison:
    """`comparison`, with what two runs of the workflow on one version show.

    One that holds is returned as it is. The workflow runs once on each of the two `runners`; where
    that fails, a note says so. `first` is the result of a run of the first one with hashes of its
    nodes, if there was one.
    """
    from comfy_workflows.compare.nodes import Explanation, explain_difference
    from comfy_workflows.graph import load_workflow

    if comparison.holds:
        return comparison
    console.say("Running the workflow again, to find the node whose output differs first")
    try:
        before = first if first is not None else runners[0].run(workflow, hashes_nodes=True)
        after = runners[1].run(workflow, hashes_nodes=True)
        found = explain_difference(before, after, load_workflow(workflow))
    except (ComfyError, OSError) as error:
        # The difference that was found stays the answer.
        found = Explanation(sentence=f"No node can be named, because another run failed: {error}")
    notes = (*comparison.notes, found.sentence, *found.notes)
    return replace(comparison, notes=notes, explanation=found.document())
