"""Builds whose engine refuses, or dies on the way. Those that end are in tests of a real engine."""

from __future__ import annotations

import base64
import io
import json

import pytest

from comfy_errors import OperationFailedError
from runpod_comfy.images.docker.buildkit import BuildFailedError, BuildOutcome, run_build
from runpod_comfy.images.docker.connection import connect
from tests.runpod_comfy.images.canned_engine import CannedEngine, served
from tests.runpod_comfy.images.recorded_streams import ENGINES, WrittenDown, recorded


def _solve(engine: CannedEngine) -> BuildOutcome:
    with served(engine) as address:
        return run_build(
            connect(address),
            io.BytesIO(b"a tar"),
            tags=["demo:1"],
            platform=None,
            no_cache=False,
            network=None,
            build_args={},
            labels={},
            show=WrittenDown(),
        )


@pytest.mark.parametrize("engine", ENGINES)
def test_a_recorded_build_ends_with_its_image(engine: str) -> None:
    outcome = _solve(CannedEngine(stream=recorded(engine, "built")))

    assert outcome.image_id.startswith("sha256:")
    assert {"node:paper", "torch 1/2"} <= {step.name for step in outcome.steps}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_failed_layer_is_reported_with_exit_code_last_lines_and_next_step(engine: str) -> None:
    with pytest.raises(BuildFailedError) as raised:
        _solve(CannedEngine(stream=recorded(engine, "failed")))

    error = raised.value
    assert error.step == "node:bad one"
    assert error.message.startswith("the layer 'node:bad one' did not build: exit code: 3;")
    assert "\n  | ModuleNotFoundError: no module named nothing" in error.message
    assert "runpod-comfy realize" in error.remedy


def test_a_layer_that_needs_a_compiler_says_so() -> None:
    said, of_gcc = b"ModuleNotFoundError: no module named nothing", b"gcc: not found"
    lines = recorded("26.1", "failed").splitlines()
    documents = [json.loads(line) for line in lines]
    for document in documents:
        if document.get("id") == "moby.buildkit.trace":
            trace = base64.b64decode(document["aux"])
            trace = trace.replace(said, of_gcc.ljust(len(said)))
            document["aux"] = base64.b64encode(trace).decode()
    stream = "\n".join(map(json.dumps, documents)).encode()
    with pytest.raises(BuildFailedError) as raised:
        _solve(CannedEngine(stream=stream))
    assert '"options": {"system_packages": ["build-essential"]}' in raised.value.remedy
    assert "'cuda-devel'" in raised.value.remedy


@pytest.mark.parametrize("engine", ENGINES)
def test_a_stream_that_ends_before_the_image_is_a_failure(engine: str) -> None:
    lines = recorded(engine, "built").splitlines(keepends=True)
    without_image = b"".join(line for line in lines if b"moby.image.id" not in line)

    with pytest.raises(OperationFailedError, match="closed the stream"):
        _solve(CannedEngine(stream=without_image))


def test_a_stream_cut_in_the_middle_of_a_line_is_a_failure() -> None:
    with pytest.raises(OperationFailedError, match="engine's response is incomplete"):
        _solve(CannedEngine(stream=recorded("26.1", "built")[:1000]))


def test_a_trace_that_cannot_be_read_is_reported() -> None:
    with pytest.raises(OperationFailedError, match="record of the build cannot be read"):
        _solve(CannedEngine(stream=b'{"id": "moby.buildkit.trace", "aux": "?"}\n'))


def test_a_request_that_the_engine_refuses_is_reported_in_its_words() -> None:
    refused = CannedEngine(stream=b'{"message": "invalid reference format"}', status=400)

    with pytest.raises(OperationFailedError, match="failed: invalid reference format"):
        _solve(refused)
