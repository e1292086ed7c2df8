from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from comfy_errors import ComfyError, OperationFailedError
from runpod_comfy.cli.proof.show import JUnitCase, write_junit


def _case(error: ComfyError | None) -> JUnitCase:
    return JUnitCase(name="w\x01", seconds=1.5, error=error)


def test_a_report_is_xml_whatever_an_error_says(tmp_path: Path) -> None:
    write_junit(
        tmp_path / "r.xml", [_case(ComfyError("\x00<\ud800>", remedy="\x1b[0m"))], suite="s"
    )
    (suite,) = ElementTree.parse(tmp_path / "r.xml").getroot()
    error = suite.find("testcase/error")
    assert error is not None
    assert error.get("message") == "\ufffd<\ufffd>"
    assert suite.get("time") == "1.500"


def test_a_report_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OperationFailedError, match=r"the report .*folder could not be written"):
        write_junit(tmp_path / "folder", [_case(None)], suite="s")
