"""BuildKit's protobuf, as real engines sent it and cut to pieces."""

from __future__ import annotations

import base64

import pytest

from runpod_comfy.images.docker.build_progress import Vertex, VertexLog, read_trace
from tests.runpod_comfy.images.recorded_streams import ENGINES, traces


@pytest.mark.parametrize("engine", ENGINES)
def test_steps_of_a_real_stream_have_names_and_times(engine: str) -> None:
    changes = [each for trace in traces(engine, "built") for each in read_trace(trace)]
    vertexes = [each for each in changes if isinstance(each, Vertex)]

    ran = [each for each in vertexes if "LAYER=node:paper" in each.name and each.completed]
    assert all(each.digest.startswith("sha256:") for each in vertexes)
    assert ran
    assert ran[-1].started is not None
    assert 0 < (ran[-1].completed or 0) - ran[-1].started < 60
    assert not ran[-1].cached


@pytest.mark.parametrize("engine", ENGINES)
def test_what_a_step_prints_arrives_with_its_stream(engine: str) -> None:
    changes = [each for trace in traces(engine, "built") for each in read_trace(trace)]
    logs = [each for each in changes if isinstance(each, VertexLog)]

    assert b"warned\n" in b"".join(log.text for log in logs if log.stream == 2)
    assert b"reading the mount\n" in b"".join(log.text for log in logs if log.stream == 1)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_message_that_breaks_off_is_refused_wherever_it_is_cut(engine: str) -> None:
    whole = base64.b64decode(traces(engine, "built")[-1])

    # A cut between two of its fields leaves a whole message of fewer fields.
    read = [_read(whole[:size]) for size in range(1, len(whole))]

    assert read.count(False) > len(read) - 10


def test_fields_of_a_newer_engine_are_passed_over() -> None:
    known = base64.b64decode(traces("26.1", "built")[0])
    # Field 100 as a number, 101 as a text, 102 as 8 bytes, 103 as 4 bytes.
    newer = b"\xa0\x06\x01" + b"\xaa\x06\x02hi" + b"\xb1\x06" + bytes(8) + b"\xbd\x06" + bytes(4)

    read = read_trace(base64.b64encode(newer + known).decode())

    assert read == read_trace(base64.b64encode(known).decode())


@pytest.mark.parametrize("encoded", ["no base64!", "é", "/////w==", "CAE="])
def test_what_is_not_a_trace_is_refused(encoded: str) -> None:
    with pytest.raises(ValueError, match=r"base64|middle|kind|text"):
        read_trace(encoded)


def _read(content: bytes) -> bool:
    try:
        read_trace(base64.b64encode(content).decode())
    except ValueError:
        return False
    return True
