"""A comparison on a terminal, and the outcome of one workflow, or of one part of a proof, there and
in a report in JUnit's format.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from comfy_errors import ComfyError, MismatchError
from comfy_errors.names import in_lines
from comfy_files.files import disk_errors, replace_file
from runpod_comfy.cli.show.console import Console

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from comfy_workflows.compare.compare import Comparison

Verdict = Literal["equal", "differs", "failed", "not asked for"]

_NAMED_AT_MOST = 10
_SHORT = 12
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


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a proof. `digest` is what was equal, if it has one; `sentence` says what was
    compared, or why not; `differences` are a sentence each. `error` is that of a part that failed,
    and `details` more fields of its JSON document.
    """

    name: str
    verdict: Verdict
    digest: str = ""
    sentence: str = ""
    differences: Sequence[str] = ()
    error: ComfyError | None = None
    details: dict[str, Any] | None = None
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        if self.error is not None:
            return self.error.exit_code
        return MismatchError.exit_code if self.verdict == "differs" else 0

    def document(self) -> dict[str, Any]:
        return {
            "part": self.name,
            "verdict": self.verdict,
            "digest": self.digest or None,
            "sentence": self.sentence,
            "differences": list(self.differences),
            "error": self.error.message if self.error else None,
            "seconds": round(self.seconds, 3),
            **(self.details or {}),
        }

    def in_junit(self) -> JUnitCase:
        """The case in a JUnit report; what was not asked for was skipped."""
        case = JUnitCase(name=self.name, seconds=self.seconds)
        if self.verdict == "not asked for":
            return replace(case, skipped=f"{self.verdict}: {self.sentence}")
        if self.verdict == "failed":
            return replace(case, error=self.error)
        failure = self.sentence or "it differs" if self.verdict == "differs" else ""
        return replace(case, failure=failure, text=table_of_parts([self]))


def failed(name: str, error: ComfyError) -> Part:
    """The part that an error ended: with a comparison that did not hold, it differs."""
    differs = isinstance(error, MismatchError)
    return Part(name=name, verdict="differs" if differs else "failed", error=error)


def table_of_parts(parts: Sequence[Part]) -> str:
    """A line for each part, and below it what differs."""
    widths = [max(len(text) for text in column) for column in zip(*map(_cells, parts), strict=True)]
    lines = []
    for part in parts:
        cells = [text.ljust(width) for text, width in zip(_cells(part), widths, strict=True)]
        lines.append("  ".join([*cells, part.sentence]).rstrip())
        if part.differences:
            lines.append(in_lines(part.differences, at_most=_NAMED_AT_MOST).removeprefix("\n"))
        if part.error is not None:
            lines.append(in_lines([part.error.in_words()]).removeprefix("\n"))
    return "\n".join(lines)


def _cells(part: Part) -> tuple[str, str, str]:
    kind, _, digits = part.digest.partition(":")
    return part.verdict, part.name, f"{kind}:{digits[:_SHORT]}" if digits else ""
