"""`explained` with runs whose results are given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from comfy_errors import OperationFailedError
from comfy_workflows.compare.compare import Comparison, compare
from comfy_workflows.compare.run import run_of
from runpod_comfy.cli.proof.runs import Runner, explained
from runpod_comfy.cli.show.console import Console
from tests.comfy_workflows.compare.runs import file, result
from tests.graphs import node
from tests.media_files import noise, picture, with_one_step

PICTURE = file(picture(noise()))
NEAR = file(picture(with_one_step(noise())))


def hashed(content: dict[str, Any], digit: str) -> dict[str, Any]:
    """A run whose node 6 gives something with this digit."""
    nodes = [
        {
            "node": "6",
            "class_type": "Noise",
            "display_node": "6",
            "outputs": [{"type": "IMAGE", "sha256": digit * 64, "unhashed": []}],
        }
    ]
    return result(content, node_hashes=nodes)


def runs(*results: dict[str, Any]) -> tuple[list[Runner], list[Path]]:
    """Two runners that have these results in turn, each of which has to be asked for with hashes;
    and the workflows that ran.
    """
    left, asked = list(results), []

    def run(workflow: Path, *, hashes_nodes: bool = False) -> dict[str, Any]:
        assert hashes_nodes
        asked.append(workflow)
        if not left:
            raise OperationFailedError("the disk is full")
        return left.pop(0)

    runner = Runner(
        version_id="demo", run=run, node_classes=lambda: None, known_device=lambda: None
    )
    return [runner] * 2, asked


@pytest.fixture
def workflow(tmp_path: Path) -> Path:
    path = tmp_path / "w.json"
    path.write_text(json.dumps({"6": node("Noise")}))
    return path


def difference() -> Comparison:
    return compare(run_of(result(PICTURE)), run_of(result(NEAR)))


def test_two_runs_are_compared_and_one_that_was_hashed_counts(workflow: Path) -> None:
    first, second = hashed(PICTURE, "a"), hashed(NEAR, "b")
    two, asked = runs(first, second)
    found = explained(difference(), workflow, Console(), runners=two)
    (note,) = found.notes
    assert note.startswith("Node 6 (Noise) is the first whose output differs")
    assert (len(asked), found.holds) == (2, False)
    assert found.document()["explanation"]["first"]["node"] == "6"

    two, asked = runs(second)
    again = explained(difference(), workflow, Console(), runners=two, first=first)
    assert again.document() == found.document()
    assert len(asked) == 1


def test_a_comparison_that_holds_is_not_explained(workflow: Path) -> None:
    two, asked = runs()
    holds = compare(run_of(result(PICTURE)), run_of(result(PICTURE)))
    assert explained(holds, workflow, Console(), runners=two) is holds
    assert asked == []


def test_a_run_that_fails_leaves_the_difference_that_was_found(workflow: Path) -> None:
    two, _ = runs(hashed(PICTURE, "a"))
    found = explained(difference(), workflow, Console(), runners=two)
    assert found.notes == ("No node can be named, because another run failed: the disk is full",)
    assert [finding.verdict for finding in found.findings] == ["different"]
