"""A report in JUnit's format, which continuous integration reads."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from comfy_errors import ComfyError
from comfy_files.files import disk_errors, replace_file

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

# What XML 1.0 cannot hold, not even as an escape.
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, kw_only=True)
class JUnitCase:
    """One test case: with an `error`, a `failure`, a reason why it was `skipped`, or none of them.
    `text` has the details of one that ran.
    """

    name: str
    seconds: float
    error: ComfyError | None = None
    failure: str = ""
    skipped: str = ""
    text: str = ""


def write_junit(path: Path, cases: Sequence[JUnitCase], *, suite: str) -> None:
    """Writes a JUnit report of these cases. Raises OperationFailedError."""
    from xml.etree import ElementTree

    root = ElementTree.Element("testsuites")
    attributes = {
        "name": suite,
        "tests": str(len(cases)),
        "failures": str(sum(bool(case.failure) for case in cases)),
        "errors": str(sum(case.error is not None for case in cases)),
        "skipped": str(sum(bool(case.skipped) for case in cases)),
        "time": f"{sum(case.seconds for case in cases):.3f}",
    }
    suite_element = ElementTree.SubElement(root, "testsuite", _clean(attributes))
    for case in cases:
        _add_case(suite_element, case, suite)
    text = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    with disk_errors(f"the report {path} could not be written"):
        replace_file(path, text + b"\n")


def _add_case(suite: Element, case: JUnitCase, name: str) -> None:
    from xml.etree import ElementTree

    attributes = {"classname": name, "name": case.name, "time": f"{case.seconds:.3f}"}
    element = ElementTree.SubElement(suite, "testcase", _clean(attributes))
    if case.error is not None:
        fault = ElementTree.SubElement(element, "error", _clean({"message": case.error.message}))
        fault.text = _in_xml(case.error.remedy)
    elif case.skipped:
        ElementTree.SubElement(element, "skipped", _clean({"message": case.skipped}))
    elif case.failure:
        failure = ElementTree.SubElement(element, "failure", _clean({"message": case.failure}))
        failure.text = _in_xml(case.text)
    else:
        ElementTree.SubElement(element, "system-out").text = _in_xml(case.text)


def _clean(attributes: Mapping[str, str]) -> dict[str, str]:
    return {key: _in_xml(value) for key, value in attributes.items()}


def _in_xml(text: str) -> str:
    return _NOT_IN_XML.sub("\ufffd", text)
