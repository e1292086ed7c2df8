from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from comfy_errors import ComfyError, InvalidInputError
from comfy_workflows.graph import InvalidWorkflowError
from rp_handler.errors import failure_document
from rp_handler.job.request import JobRequest, parsed_input, read_job_input, read_listed

GRAPH = {"1": {"class_type": "Show", "inputs": {"text": "a"}}}


@pytest.fixture
def workflows(tmp_path: Path) -> Path:
    (tmp_path / "example.json").write_text(json.dumps(GRAPH), encoding="utf-8")
    (tmp_path / "minimal.json").write_text("{}", encoding="utf-8")
    return tmp_path


def read(document: object, workflows: Path, **environment: str) -> JobRequest:
    return read_job_input(parsed_input(document), workflows=workflows, environment=environment)


def test_a_graph_comes_with_its_limits(workflows: Path) -> None:
    document = {"workflow": GRAPH, "timeout": 5, "strict": False, "output": "base64"}
    request = read(document, workflows)
    assert request.graph.document == GRAPH
    assert (request.timeout_s, request.strict) == (5, False)


@pytest.mark.parametrize(
    ("asked", "events"), [(["progress", "progress"], {"progress"}), ([], set()), (None, set())]
)
def test_a_job_may_ask_for_events(workflows: Path, asked: object, events: set[str]) -> None:
    assert read({"workflow": GRAPH, "events": asked}, workflows).events == events


@pytest.mark.parametrize("asked", [True, False, None])
def test_a_job_may_ask_for_provenance(workflows: Path, asked: bool | None) -> None:
    assert read({"workflow": GRAPH, "provenance": asked}, workflows).has_provenance is asked
    with pytest.raises(InvalidInputError, match="'provenance' must be true or false, not text"):
        read({"workflow": GRAPH, "provenance": "yes"}, workflows)


def test_an_event_that_there_is_not_is_refused(workflows: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"'events\[1\]' must be 'progress'"):
        read({"workflow": GRAPH, "events": ["progress", "smoke"]}, workflows)


def test_a_job_may_ask_for_a_format(workflows: Path) -> None:
    asked = {"format": "webp", "quality": 80, "metadata": "strip"}
    conversion = read({"workflow": GRAPH, "convert": asked}, workflows).conversion
    assert conversion is not None
    assert conversion.model_dump() == asked
    assert read({"workflow": GRAPH, "convert": None}, workflows).conversion is None


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("webp", "'convert' must be an object in braces, not text"),
        ({"format": "gif"}, "'convert.format' must be 'webp', 'jpeg' or 'png'"),
        ({"format": "webp", "quality": 200}, "'convert.quality' must be less than or equal to 100"),
        ({"format": "webp", "quality": True}, "'convert.quality' must be a whole number"),
        ({"quality": 9}, "'convert' has a 'quality', which only goes with"),
        ({"metadata": "none"}, "'convert.metadata' must be 'keep' or 'strip'"),
    ],
)
def test_a_format_that_cannot_be_made_is_refused(workflows: Path, asked: object, said: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read({"workflow": GRAPH, "convert": asked}, workflows)
    assert said in caught.value.message


def test_an_unknown_key_of_a_format_is_named(workflows: Path) -> None:
    document = {"workflow": GRAPH, "convert": {"qualty": 9}}
    (warning,) = read(document, workflows).warnings
    assert "'convert.qualty' is not a known key; the nearest is 'quality'" in warning
    with pytest.raises(InvalidInputError, match=r"convert\.qualty"):
        read({**document, "strict_input": True}, workflows)


_S3 = {
    "accessId": "id",
    "accessSecret": "hidden",
    "bucketName": "mine",
    "endpointUrl": "https://s3.example.org",
}


def _with_s3(workflows: Path, document: Mapping[str, object], **environment: str) -> JobRequest:
    document = {"workflow": GRAPH, **document}
    return read_job_input(document, workflows=workflows, environment=environment, s3_config=_S3)


@pytest.mark.parametrize("asked", [{}, {"output": "s3"}])
def test_a_job_may_have_a_bucket_if_the_worker_allows_it(
    workflows: Path, asked: dict[str, str]
) -> None:
    request = _with_s3(workflows, asked, COMFY_JOB_S3_CONFIG="1")
    assert request.bucket is not None
    assert request.bucket.bucket == "mine"
    assert "hidden" not in repr(request)
    assert request.warnings == []


def test_a_bucket_that_is_not_allowed_is_a_warning_or_with_strict_input_an_error(
    workflows: Path,
) -> None:
    request = _with_s3(workflows, {})
    assert request.bucket is None
    (warning,) = request.warnings
    assert "s3Config was ignored: this worker does not allow buckets of jobs" in warning
    with pytest.raises(InvalidInputError, match="COMFY_JOB_S3_CONFIG=1"):
        _with_s3(workflows, {"strict_input": True})


def test_a_bucket_is_not_used_for_another_output(workflows: Path) -> None:
    request = _with_s3(workflows, {"output": "base64"}, COMFY_JOB_S3_CONFIG="1")
    assert (request.bucket, request.output) == (None, "base64")


@pytest.mark.parametrize("name", ["example", "example.json"])
def test_a_name_means_a_workflow_of_the_image(workflows: Path, name: str) -> None:
    request = read({"workflow": name}, workflows)
    assert request.graph.document == GRAPH
    assert (request.timeout_s, request.strict) == (None, True)


def test_null_means_the_default(workflows: Path) -> None:
    request = read({"workflow": GRAPH, "strict": None, "strict_input": None, "x": 1}, workflows)
    assert request.strict
    assert len(request.warnings) == 1


@pytest.mark.parametrize("name", ["none", "../example", "/etc/passwd", ""])
def test_another_name_is_refused_with_those_that_there_are(workflows: Path, name: str) -> None:
    (workflows / "inner").mkdir()
    with pytest.raises(InvalidInputError) as caught:
        read({"workflow": name}, workflows / "inner" if ".." in name else workflows)
    assert f'There is no workflow "{name}"' in caught.value.message
    if ".." not in name:
        assert "example, minimal" in caught.value.remedy


@pytest.mark.parametrize("images", [None, []])
def test_requests_of_worker_comfyui_are_understood(workflows: Path, images: object) -> None:
    document = {"workflow": GRAPH, "images": images}
    for sent in (document, json.dumps(document)):
        request = read(sent, workflows)
        assert request.graph.document == GRAPH
        assert not request.warnings
        assert request.extra_data == {}


@pytest.mark.parametrize("key", ["comfy_org_api_key", "api_key_comfy_org"])
def test_a_key_for_the_services_of_comfy_org_goes_to_the_nodes(workflows: Path, key: str) -> None:
    document = {"workflow": GRAPH, "comfy_org_api_key": None, key: "of-the-job"}
    request = read(document, workflows, COMFY_ORG_API_KEY="of-the-endpoint")
    assert request.extra_data == {"api_key_comfy_org": "of-the-job"}
    assert "of-the-job" not in repr(request)
    request = read({"workflow": GRAPH}, workflows, COMFY_ORG_API_KEY="of-the-endpoint")
    assert request.extra_data == {"api_key_comfy_org": "of-the-endpoint"}


def test_a_key_that_is_wrong_is_not_in_the_error(workflows: Path) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read({"workflow": GRAPH, "comfy_org_api_key": ["secret"]}, workflows)
    assert "'comfy_org_api_key' must be text" in caught.value.message
    assert "secret" not in f"{caught.value.message} {caught.value.__cause__}"


def test_unknown_keys_are_ignored_with_a_warning(workflows: Path) -> None:
    request = read({"workflow": GRAPH, "timout": 5, "x\n": 1}, workflows)
    assert list(request.warnings) == [
        "In the job's input, 'timout' is not a known key; the nearest is 'timeout'; "
        "it was ignored.",
        "In the job's input, ''x\\n'' is not a known key; it was ignored.",
    ]


def test_only_some_of_many_unknown_keys_are_named(workflows: Path) -> None:
    many = dict.fromkeys((f"unknown-{number}" for number in range(100_000)), 1)
    assert len(read({"workflow": GRAPH, **many}, workflows).warnings) == 20


def test_unknown_keys_of_files_are_treated_like_those_of_the_input(workflows: Path) -> None:
    files = [{"name": "a", "url": "data:,a", "sha265": "ab"}]
    images = [{"name": "b", "image": "aGVsbG8="}, {"name": "c", "image": "aGVsbG8=", "x": 1}]
    document = {"workflow": GRAPH, "images": images, "files": files}
    assert list(read(document, workflows).warnings) == [
        "In the job's input, 'images[1].x' is not a known key; it was ignored.",
        "In the job's input, 'files[0].sha265' is not a known key; the nearest is 'sha256'; "
        "it was ignored.",
    ]
    with pytest.raises(InvalidInputError, match=r"'files\[0\].sha265' is not a known key"):
        read({**document, "strict_input": True}, workflows)


def test_strict_input_refuses_unknown_keys_together_with_other_faults(workflows: Path) -> None:
    document = {"workflow": GRAPH, "timout": 5, "strict_input": True}
    with pytest.raises(InvalidInputError, match="'timout' is not a known key"):
        read(document, workflows)
    with pytest.raises(InvalidInputError, match=r"'strict' must be.*'timout' is not a known"):
        read({**document, "strict": 1}, workflows)


def test_files_are_read_and_checked(workflows: Path) -> None:
    images = [{"name": "a.png", "image": "aGVsbG8="}]
    request = read({"workflow": GRAPH, "images": images, "files": None}, workflows)
    assert [one.name for one in request.files.entries()] == ["a.png"]
    for wrong, sentence in (
        ([{"name": "a.png"}], r"'images\[0\].image' is missing"),
        ([{"name": "../a", "image": ""}], r"'images\[0\].name'"),
        ([{"name": "a.png", "image": ""}, *images], "is also the name of another file"),
    ):
        with pytest.raises(InvalidInputError, match=sentence):
            read({"workflow": GRAPH, "images": wrong}, workflows)


def test_models_are_read_and_checked(workflows: Path) -> None:
    model = {"source": "hf://org/name/x.safetensors", "target_path": "loras/x.safetensors"}
    (found,) = read({"workflow": GRAPH, "models": [model]}, workflows).models
    assert found.model_dump(exclude_none=True) == model
    assert not read({"workflow": GRAPH, "models": None}, workflows).models
    assert not read({"workflow": GRAPH, "models": []}, workflows).models
    wrong = {**model, "target_path": "loras/x.ckpt"}
    with pytest.raises(InvalidInputError, match=r"'models\[1\].target_path' must end in"):
        read({"workflow": GRAPH, "models": [model, wrong]}, workflows)
    with pytest.raises(InvalidInputError, match="'models'"):
        read({"workflow": GRAPH, "models": [model] * 101}, workflows)


def test_inputs_of_nodes_are_set(workflows: Path) -> None:
    request = read({"workflow": "example", "set": {"1.text": "b"}}, workflows)
    assert request.graph.document["1"]["inputs"] == {"text": "b"}
    assert read({"workflow": GRAPH, "set": None}, workflows).graph.document == GRAPH


DEEP: Any = []
for _ in range(900):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({}, "'workflow' is missing"),
        ({"workflow": 3}, "'workflow' must be a graph, or the name of one, not a number"),
        ({"workflow": None}, "'workflow' must be a graph, or the name of one, not null"),
        ({"workflow": GRAPH, "timeout": 0}, "'timeout' must be more than 0"),
        ({"workflow": GRAPH, "timeout": float("inf")}, "'timeout' must be a finite number"),
        ({"workflow": GRAPH, "timeout": float("nan")}, "'timeout'"),
        ({"workflow": GRAPH, "timeout": "5"}, "'timeout' must be a number, not text"),
        ({"workflow": GRAPH, "timeout": 0, "strict": "yes"}, "'timeout' must be more than 0; 's"),
        ({"workflow": GRAPH, "strict": "yes"}, "'strict' must be true or false"),
        ({"workflow": GRAPH, "webhook": "https://user:pw@x.test"}, "'webhook' must not have a l"),
        ({"workflow": GRAPH, "images": "x"}, "'images' must be a list"),
        ({"workflow": GRAPH, "set": []}, "'set' must be an object"),
        ({"workflow": GRAPH, "output": "files"}, "in a worker, which has base64, gcs or s3"),
        ({"workflow": {"1": DEEP}}, "nested too deeply"),
        ("workflow", "it is text that is not valid JSON: Expecting value at line 1, column 1"),
        ("[" * 100_000, "it is text that is nested too deeply"),
        ("9" * 5000, "it is text that has a number of too many digits"),
        ("[]", "it must be an object in braces"),
        (None, "it must be an object in braces, not null"),
    ],
)
def test_what_cannot_be_used_is_named(document: Any, sentence: str, workflows: Path) -> None:
    with pytest.raises(ComfyError) as caught:
        read(document, workflows)
    assert sentence in caught.value.message
    assert failure_document(caught.value)["error_type"] == "invalid_input"


def test_a_graph_that_is_none_is_an_invalid_workflow(workflows: Path) -> None:
    with pytest.raises(InvalidWorkflowError) as caught:
        read({"workflow": {"nodes": []}}, workflows)
    assert failure_document(caught.value)["error_type"] == "invalid_workflow"


@pytest.mark.parametrize("listed", ["nodes", "models", "workflows"])
def test_a_list_can_be_asked_for_instead_of_a_workflow(listed: str) -> None:
    assert read_listed({"list": listed}) == listed
    assert read_listed({"workflow": GRAPH}) is None


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({"list": "all"}, "'list' must be one of 'nodes', 'models', 'workflows'"),
        ({"list": ["nodes"]}, "'list' must be one of"),
        ({"list": "nodes", "workflow": GRAPH}, "'list' and 'workflow' cannot be used together"),
    ],
)
def test_a_list_that_there_is_not_is_refused(document: Any, sentence: str) -> None:
    with pytest.raises(InvalidInputError, match=sentence):
        read_listed(document)


def test_a_webhook_is_an_address(workflows: Path) -> None:
    url = "https://example.org/hook"
    asked = read_job_input({"workflow": GRAPH, "webhook": url}, workflows=workflows, environment={})
    assert asked.webhook == url
    with pytest.raises(InvalidInputError, match="'webhook' must be an address that starts with"):
        read_job_input(
            {"workflow": GRAPH, "webhook": "example.org"}, workflows=workflows, environment={}
        )
