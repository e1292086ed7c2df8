from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from comfy_errors import InvalidInputError
from comfy_workflows.compare.output import outputs_of
from tests.comfy_workflows.compare.runs import file, result


def test_outputs_are_counted_for_each_node_and_kind() -> None:
    found = outputs_of(
        result(
            file(b"1", node="1"), file(b"2", node="2"), file(b"3", node="1"), file(b"4", "x.json"),
            text="hello",
        )
    )  # fmt: skip
    places = [output.place for output in found]
    assert places == [
        ("1", "image", 0),
        ("2", "image", 0),
        ("1", "image", 1),
        ("6", "file", 0),
        ("9", "text", 0),
    ]
    assert found[2].title == "Image 2 of node 1"


def test_a_text_is_its_bytes() -> None:
    (text,) = outputs_of(result(text="hé"))
    assert text.sha256 == hashlib.sha256("hé".encode()).hexdigest()
    assert text.content is not None
    assert (text.content.rule, text.suffix) == ("bytes", ".txt")


def test_a_file_is_read_from_its_path_or_its_data(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b"{}")
    there = {**file(b"{}", "x.json"), "type": "file", "path": str(tmp_path / "x.json")}
    for entry in (there, file(b"{}", "x.json")):
        (output,) = outputs_of(result(entry))
        assert output.open is not None
        with output.open() as stream:
            assert stream.read() == b"{}"


def test_a_file_in_a_bucket_cannot_be_read() -> None:
    (output,) = outputs_of(result({**file(b"{}", "x.json"), "type": "gcs", "uri": "gs://b/x.json"}))
    assert output.open is None
    assert output.content is None
    assert "bucket" in output.unreadable


def test_data_that_is_not_base64_is_a_sentence() -> None:
    with pytest.raises(InvalidInputError, match=r"the data of x\.png is not base64"):
        outputs_of(result({**file(b""), "data": "not base64!"}))


@pytest.mark.parametrize("name", ["x", "x.p/g", "x.ünï", "x.", "x." + "a" * 20])
def test_a_suffix_that_is_not_plain_is_left_out(name: str) -> None:
    (output,) = outputs_of(result({**file(b""), "filename": name}))
    assert output.suffix == ""
