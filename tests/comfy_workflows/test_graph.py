from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from comfy_errors import UnavailableError
from comfy_workflows.graph import InvalidWorkflowError, load_workflow


def write(folder: Path, text: str) -> Path:
    path = folder / "graph.json"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_graph_is_loaded_with_its_nodes_and_links(tmp_path: Path) -> None:
    document = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}, "_meta": {"title": "x"}},
    }
    graph = load_workflow(write(tmp_path, json.dumps(document)))
    assert graph.document == document
    assert graph.nodes["1"].class_type == "EmptyImage"
    assert graph.nodes["2"].links() == {"images": "1"}
    assert [node.title for node in graph.nodes.values()] == ["", "x"]


def test_an_empty_object_is_the_smoke_test(tmp_path: Path) -> None:
    assert load_workflow(write(tmp_path, "{}\n")).is_empty


def test_a_byte_order_mark_is_not_a_fault(tmp_path: Path) -> None:
    assert load_workflow(write(tmp_path, "\ufeff{}")).is_empty


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"no workflow at .*nope\.json"):
        load_workflow(tmp_path / "nope.json")


def test_broken_json_is_reported_with_line_and_column(tmp_path: Path) -> None:
    with pytest.raises(InvalidWorkflowError, match="line 2, column 3"):
        load_workflow(write(tmp_path, '{"1":\n  nope}'))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[]", "it is a list"),
        ("null", "it is null"),
        ('"x"', "it is text"),
        ('{"1": 5}', '"1" is the value 5, not a node'),
        ('{"1": {"inputs": {}}}', '"1" has no "class_type"'),
        ('{"1": {"class_type": "A"}}', r'node 1 \(A\) has no "inputs"'),
        (
            '{"1": {}, "2": 5}',
            r'for 3 reasons:\n  "1" has no "class_type"\n  node 1 has no "inputs"\n',
        ),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_not_a_graph_is_reported_in_plain_words(
    tmp_path: Path, text: str, fault: str
) -> None:
    with pytest.raises(InvalidWorkflowError, match=fault) as caught:
        load_workflow(write(tmp_path, text))
    assert caught.value.exit_code == 2
    assert caught.value.remedy


def test_the_ui_format_is_recognised_and_a_next_step_is_given(tmp_path: Path) -> None:
    path = write(tmp_path, '{"nodes": [], "links": [], "version": 0.4}')
    with pytest.raises(InvalidWorkflowError, match="UI format") as caught:
        load_workflow(path)
    assert "Export (API)" in caught.value.remedy


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "graph.json"
    path.write_bytes(b"\x89PNG\r\n")
    with pytest.raises(InvalidWorkflowError, match="is not text in UTF-8"):
        load_workflow(path)


@pytest.mark.parametrize(
    ("outer", "sentence", "path"),
    [
        ({"input": {"workflow": ...}}, "is a job for a worker", "input.workflow"),
        ({"id": "1", "input": {"workflow": ..., "timeout": 5}}, "is a job for a worker", "input.w"),
        ({"workflow": ..., "strict": True}, "is the input of a job", "workflow"),
        ({"prompt": ..., "client_id": "x"}, "is a request to ComfyUI's /prompt", "prompt"),
    ],
)
def test_a_document_around_a_graph_is_recognised(
    tmp_path: Path, outer: dict[str, Any], sentence: str, path: str
) -> None:
    graph = {"1": {"class_type": "A", "inputs": {}}}
    text = json.dumps(outer, default=lambda _: graph)
    with pytest.raises(InvalidWorkflowError, match=sentence) as raised:
        load_workflow(write(tmp_path, text))
    assert f"jq .{path}" in raised.value.remedy


def test_a_job_that_names_its_workflow_is_recognised(tmp_path: Path) -> None:
    with pytest.raises(InvalidWorkflowError, match="is a job for a worker") as raised:
        load_workflow(write(tmp_path, '{"input": {"workflow": "minimal"}}'))
    assert "'minimal'" in raised.value.remedy


def test_nodes_may_be_called_like_the_keys_of_a_job(tmp_path: Path) -> None:
    node = {"class_type": "A", "inputs": {}}
    document = {"input": node, "workflow": node, "prompt": node}
    assert load_workflow(write(tmp_path, json.dumps(document))).document == document


def test_ids_are_reported_on_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"a\nb": 1, "c\x1b[2J": {"class_type": "K\n", "inputs": 1}}))
    with pytest.raises(InvalidWorkflowError) as caught:
        load_workflow(path)
    assert '"a\\nb" is the value 1, not a node' in caught.value.message
    assert 'node c\\x1b[2J (K\\n) has no "inputs"' in caught.value.message
