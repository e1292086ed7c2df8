"""A comparison on a terminal, and as the JUnit report that continuous integration reads."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_errors import ComfyError, MismatchError
from comfy_errors.names import in_lines
from comfy_files.files import disk_errors, replace_file
from runpod_comfy.cli.show.console import Console

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from comfy_workflows.compare.compare import Comparison

# What XML 1.0 cannot hold, not even as an escape.
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One workflow that was tested: with a comparison, an error, or without a baseline."""

    workflow: Path
    baseline: Path
    seconds: float
    comparison: Comparison | None = None
    error: ComfyError | None = None

    @property
    def differs(self) -> bool:
        return self.comparison is not None and not self.comparison.holds

    @property
    def exit_code(self) -> int:
        if self.error is not None:
            return self.error.exit_code
        return MismatchError.exit_code if self.differs else 0

    def document(self) -> dict[str, Any]:
        return {
            "workflow": str(self.workflow),
            "baseline": str(self.baseline),
            "seconds": round(self.seconds, 3),
            "comparison": self.comparison.document() if self.comparison else None,
            "error": self.error.message if self.error else None,
            "exit_code": self.exit_code,
        }


def table(comparison: Comparison) -> str:
    """A line for each output: the verdict, the output, and what differs."""
    width = max((len(finding.verdict) for finding in comparison.findings), default=0)
    lines = []
    for finding in comparison.findings:
        reason = f": {finding.sentence}" if finding.sentence else ""
        output = finding.output
        name = "" if output.kind == "text" else f" ({output.name})"
        lines.append(f"{finding.verdict:<{width}}  {output.title}{name}{reason}")
    return "\n".join(lines)


def say_circumstances(comparison: Comparison, console: Console) -> None:
    """Says what a reader has to know: notes, and what differs if outputs do."""
    for note in comparison.notes:
        console.say(f"Note: {note}")
    if any(finding.verdict != "equal" for finding in comparison.findings):
        for change in comparison.changes:
            console.say(f"Note: {change}")
    if any(finding.verdict == "within tolerance" for finding in comparison.findings):
        assert comparison.tolerance is not None, "without one, nothing is within it"
        console.say(f"Accepted with the tolerance {comparison.tolerance.in_words()}")


def mismatch(comparison: Comparison, baseline: Path, *, record: str) -> MismatchError | None:
    """The error of a comparison that does not hold. `record` says how to record a baseline."""
    return difference(
        comparison,
        than=f"the outputs differ from {baseline}",
        remedy="Find out what changed: the workflow, the lock, the device or the driver. If the "
        f"change is right, {record}",
    )


def difference(comparison: Comparison, *, than: str, remedy: str) -> MismatchError | None:
    """The error of a comparison that does not hold, with each output that differs; `than` is its
    beginning.
    """
    if comparison.holds:
        return None
    wrong = [finding.in_words() for finding in comparison.findings if not finding.holds]
    return MismatchError(f"{than}:{in_lines(wrong)}", remedy=remedy)


def write_junit(path: Path, cases: Sequence[Case], *, suite: str) -> None:
    """Writes a JUnit report with a test case for each workflow. Raises OperationFailedError."""
    from xml.etree import ElementTree

    root = ElementTree.Element("testsuites")
    attributes = {
        "name": suite,
        "tests": str(len(cases)),
        "failures": str(sum(case.differs for case in cases)),
        "errors": str(sum(case.error is not None for case in cases)),
        "skipped": str(sum(_was_skipped(case) for case in cases)),
        "time": f"{sum(case.seconds for case in cases):.3f}",
    }
    suite_element = ElementTree.SubElement(root, "testsuite", _clean(attributes))
    for case in cases:
        _add_case(suite_element, case, suite)
    text = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    with disk_errors(f"the report {path} could not be written"):
        replace_file(path, text + b"\n")


def _add_case(suite: Element, case: Case, name: str) -> None:
    from xml.etree import ElementTree

    attributes = {
        "classname": name,
        "name": case.workflow.stem,
        "time": f"{case.seconds:.3f}",
    }
    element = ElementTree.SubElement(suite, "testcase", _clean(attributes))
    if case.error is not None:
        fault = ElementTree.SubElement(element, "error", _clean({"message": case.error.message}))
        fault.text = _in_xml(case.error.remedy)
    elif _was_skipped(case):
        ElementTree.SubElement(element, "skipped", {"message": "there is no baseline"})
    elif case.comparison is not None:
        comparison = case.comparison
        lines = "\n".join((table(comparison), *comparison.notes, *comparison.changes))
        if case.differs:
            summary = _clean({"message": comparison.summary()})
            ElementTree.SubElement(element, "failure", summary).text = _in_xml(lines)
        else:
            ElementTree.SubElement(element, "system-out").text = _in_xml(lines)


def _was_skipped(case: Case) -> bool:
    return case.error is None and case.comparison is None


def _clean(attributes: Mapping[str, str]) -> dict[str, str]:
    return {key: _in_xml(value) for key, value in attributes.items()}


def _in_xml(text: str) -> str:
    return _NOT_IN_XML.sub("\ufffd", text)
