from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from comfy_errors import ComfyError, InvalidInputError, UnavailableError
from comfy_files.json_file import read_json, read_model, read_object


class Point(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    x: int


def test_a_missing_file_is_unavailable_and_named(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"there is no point at .*p\.json") as caught:
        read_model(tmp_path / "p.json", Point, "point", remedy="Draw one.")
    assert caught.value.remedy == "Draw one."


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b'{"x":\n  nope}', "is not valid JSON: Expecting value at line 2, column 3"),
        (b"\x89PNG\r\n", "is not text in UTF-8 \\(byte 0\\)"),
        (b"[" * 100_000, "is nested too deeply"),
        (b"[]", "is not a JSON object"),
    ],
)
def test_a_broken_file_is_refused_with_its_fault(
    tmp_path: Path, content: bytes, fault: str
) -> None:
    path = tmp_path / "p.json"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=rf"the point .*p\.json {fault}"):
        read_object(path, "point", remedy="")


def test_a_folder_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="cannot be read: is a directory"):
        read_json(tmp_path, "point", remedy="")


def test_a_document_of_another_shape_is_refused_with_the_place(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text('\ufeff{"x": 1}', encoding="utf-8")
    assert read_model(path, Point, "point", remedy="").x == 1
    path.write_text('{"x": "1"}', encoding="utf-8")
    with pytest.raises(ComfyError, match="cannot be used: .x. must be a whole number, not text"):
        read_model(path, Point, "point", remedy="")
