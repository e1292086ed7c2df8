"""`--explain`: names the node whose output differs first between two runs of one version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runpod_comfy.cli.proof.runs import Runner
from runpod_comfy.cli.show.console import Console

if TYPE_CHECKING:
    from comfy_workflows.compare.compare import Comparison

EXPLAIN_HELP = "where outputs differ, run once more and name the node that differs first"


def explained(
    comparison: Comparison,
    runner: Runner,
    workflow: Path,
    console: Console,
    *,
    first: Mapping[str, Any] | None = None,
) -> Comparison:
    """`comparison`, with what two runs of the workflow on the version of `runner` show.

    One that holds is returned as it is. `first` is the result of a run with hashes of its nodes,
    if there was one; else there are two runs more. Raises ComfyError and OSError.
    """
    from comfy_workflows.compare.nodes import explain_difference
    from comfy_workflows.graph import load_workflow

    if comparison.holds:
        return comparison
    console.say("Running the workflow again, to find the node whose output differs first")
    results = [
        runner.run(workflow, hashes_nodes=True) if result is None else result
        for result in (first, None)
    ]
    found = explain_difference(results[0], results[1], load_workflow(workflow))
    notes = (*comparison.notes, found.sentence, *found.notes)
    return replace(comparison, notes=notes, explanation=found.document())
