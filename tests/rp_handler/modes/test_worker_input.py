from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from comfy_errors import ComfyError, InvalidInputError
from comfy_workflows.graph import InvalidWorkflowError
from rp_handler.errors import failure_document
from rp_handler.modes.worker import read_job_input

GRAPH = {"1": {"class_type": "Show", "inputs": {}}}


@pytest.fixture
def workflows(tmp_path: Path) -> Path:
    (tmp_path / "example.json").write_text(json.dumps(GRAPH), encoding="utf-8")
    (tmp_path / "minimal.json").write_text("{}", encoding="utf-8")
    return tmp_path


def test_a_graph_comes_with_its_limits(workflows: Path) -> None:
    document = {"workflow": GRAPH, "timeout": 5, "strict": True, "output": "base64"}
    request = read_job_input(document, workflows)
    assert request.graph.document == GRAPH
    assert (request.timeout_s, request.strict) == (5, True)


@pytest.mark.parametrize("name", ["example", "example.json"])
def test_a_name_means_a_workflow_of_the_image(workflows: Path, name: str) -> None:
    request = read_job_input({"workflow": name}, workflows)
    assert request.graph.document == GRAPH
    assert (request.timeout_s, request.strict) == (None, False)


@pytest.mark.parametrize("name", ["none", "../example", "/etc/passwd", ""])
def test_another_name_is_refused_with_those_that_there_are(workflows: Path, name: str) -> None:
    (workflows / "inner").mkdir()
    with pytest.raises(InvalidInputError) as caught:
        read_job_input({"workflow": name}, workflows / "inner" if ".." in name else workflows)
    assert f'There is no workflow "{name}"' in caught.value.message
    if ".." not in name:
        assert "example, minimal" in caught.value.remedy


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({"workflow": GRAPH, "imgaes": [], "x": 1}, 'unknown key "imgaes"'),
        ({"workflow": GRAPH, "set": {}}, 'unknown key "set"'),
        ({}, '"workflow" is missing'),
        ({"workflow": 3}, '"workflow"'),
        ({"workflow": GRAPH, "timeout": 0}, '"timeout"'),
        ({"workflow": GRAPH, "timeout": "5"}, '"timeout"'),
        ({"workflow": GRAPH, "strict": "yes"}, '"strict"'),
        ({"workflow": GRAPH, "output": "gcs"}, "gcs is not supported yet"),
        ({"workflow": GRAPH, "output": "files"}, "is not available in a worker"),
        ("workflow", "cannot be used"),
        (None, "cannot be used"),
    ],
)
def test_what_cannot_be_used_is_named(document: Any, sentence: str, workflows: Path) -> None:
    with pytest.raises(ComfyError) as caught:
        read_job_input(document, workflows)
    assert sentence in caught.value.message
    assert failure_document(caught.value)["error_type"] == "invalid_input"


def test_a_graph_that_is_none_is_an_invalid_workflow(workflows: Path) -> None:
    with pytest.raises(InvalidWorkflowError) as caught:
        read_job_input({"workflow": {"nodes": []}}, workflows)
    assert failure_document(caught.value)["error_type"] == "invalid_workflow"
