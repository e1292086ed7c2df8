"""A comparison on a terminal, and the outcome of one workflow for a report in JUnit's format."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
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

    def in_junit(self) -> JUnitCase:
        """The case in a JUnit report; one without a baseline was skipped."""
        comparison = self.comparison
        if self.error is not None or comparison is None:
            skipped = "" if self.error else "there is no baseline"
            return JUnitCase(
                name=self.workflow.stem, seconds=self.seconds, error=self.error, skipped=skipped
            )
        return JUnitCase(
            name=self.workflow.stem,
            seconds=self.seconds,
            failure=comparison.summary() if self.differs else "",
            text="\n".join((table(comparison), *comparison.notes, *comparison.changes)),
        )


def worst_code(codes: Iterable[int]) -> int:
    """The exit code of several: what could not be compared at all comes before what differs."""
    failed = [code for code in codes if code]
    return next(
        (code for code in failed if code != MismatchError.exit_code), max(failed, default=0)
    )


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
        remedy=f"{_where_to_look(comparison)} If the change is right, {record}",
    )


def _where_to_look(comparison: Comparison) -> str:
    explanation = comparison.explanation or {}
    if explanation.get("first"):
        return "Look at the node that differs first, and at its inputs."
    if comparison.changes or explanation:
        return "Find out what changed: the workflow, the lock, the device or the driver."
    return (
        "Neither the lock nor the device has changed: `repro` with --explain names the node whose "
        "output differs first."
    )


def difference(comparison: Comparison, *, than: str, remedy: str) -> MismatchError | None:
    """The error of a comparison that does not hold, with each output that differs; `than` is its
    beginning.
    """
    if comparison.holds:
        return None
    wrong = [finding.in_words() for finding in comparison.findings if not finding.holds]
    return MismatchError(f"{than}:{in_lines(wrong)}", remedy=remedy)
