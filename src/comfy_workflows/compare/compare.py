"""Compares two runs of a workflow, output by output."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from comfy_errors.names import quantity
from comfy_workflows.compare.content import Content, tracks_of
from comfy_workflows.compare.decoded import UndecodableError
from comfy_workflows.compare.measures import (
    IncomparableError,
    hash_distance,
    measure,
    size_in_words,
)
from comfy_workflows.compare.output import Output
from comfy_workflows.compare.run import Run
from comfy_workflows.compare.tolerance import Tolerance

Verdict = Literal["equal", "same content", "within tolerance", "different", "new", "missing"]
_HOLD = ("equal", "same content", "within tolerance")


@dataclass(frozen=True, kw_only=True)
class ComparedOutput:
    """What became of one output. `numbers` are the fields of Measures, and `hash_distance`, as far
    as they are known; `sentence` says what differs, without the output's title.
    """

    output: Output
    verdict: Verdict
    sentence: str = ""
    numbers: Mapping[str, float | None] | None = None

    @property
    def holds(self) -> bool:
        return self.verdict in _HOLD

    def in_words(self) -> str:
        """`Image 1 of node 6: different: max 3 of 255, …`."""
        reason = f": {self.sentence}" if self.sentence else ""
        return f"{self.output.title}: {self.verdict}{reason}"

    def document(self) -> dict[str, Any]:
        return {
            "node": self.output.node,
            "kind": self.output.kind,
            "number": self.output.number,
            "name": self.output.name,
            "verdict": self.verdict,
            "sentence": self.sentence,
            "numbers": dict(self.numbers) if self.numbers is not None else None,
        }


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Every output of two runs. `changes` are the circumstances that differ, a sentence each, and
    `notes` what else a reader has to know. `explanation` is the document of an Explanation.
    """

    findings: tuple[ComparedOutput, ...]
    changes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    tolerance: Tolerance | None = None
    explanation: Mapping[str, Any] | None = None

    @property
    def holds(self) -> bool:
        return all(finding.holds for finding in self.findings)

    def summary(self) -> str:
        """`2 outputs: 1 equal, 1 different`."""
        counts = Counter(finding.verdict for finding in self.findings)
        parts = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
        return f"{quantity(len(self.findings), 'output')}: {parts}" if parts else "no outputs"

    def document(self) -> dict[str, Any]:
        return {
            "holds": self.holds,
            "outputs": [finding.document() for finding in self.findings],
            "changes": list(self.changes),
            "notes": list(self.notes),
            "tolerance": self.tolerance.in_words() if self.tolerance else None,
            **({"explanation": dict(self.explanation)} if self.explanation is not None else {}),
        }


def compare(before: Run, after: Run, *, tolerance: Tolerance | None = None) -> Comparison:
    """Compares two runs, each of a result document or of a baseline.

    Outputs are equal if their files are, or their decoded content; with a tolerance also if their
    difference is within it. Raises OSError for a file that is gone.
    """
    then = {output.place: output for output in before.outputs}
    now = {output.place: output for output in after.outputs}
    findings = []
    for place in dict.fromkeys([*now, *then]):
        if place not in then:
            findings.append(ComparedOutput(output=now[place], verdict="new"))
        elif place not in now:
            findings.append(ComparedOutput(output=then[place], verdict="missing"))
        else:
            findings.append(_compared(then[place], now[place], tolerance))
    return Comparison(
        findings=tuple(findings),
        changes=tuple(before.circumstances.changes(after.circumstances)),
        tolerance=tolerance,
    )


def _compared(before: Output, after: Output, tolerance: Tolerance | None) -> ComparedOutput:
    if before.sha256 == after.sha256:
        return ComparedOutput(output=after, verdict="equal")
    then, now = before.content, after.content
    if then is None or now is None:
        reason = after.unreadable if now is None else before.unreadable
        fault = f"its file differs, and its content cannot be compared: {reason}"
        return ComparedOutput(output=after, verdict="different", sentence=fault)
    if (then.rule, then.sha256) == (now.rule, now.sha256):
        return _same_content(after)
    if then.rule != now.rule or then.rule not in ("pixels", "media"):
        return ComparedOutput(output=after, verdict="different", sentence=_in_bytes(then, now))
    if before.open is None or after.open is None:
        reason = before.unreadable if before.open is None else after.unreadable
        return _without_file(after, then, now, reason, tolerance)
    return _measured(before, after, then, now, tolerance)


def _same_content(output: Output) -> ComparedOutput:
    sentence = "only its file differs: metadata, or how it is compressed"
    return ComparedOutput(output=output, verdict="same content", sentence=sentence)


def _in_bytes(then: Content, now: Content) -> str:
    note = now.note or then.note
    what = "its content" if now.rule == "mesh" else "its bytes"
    return f"{what} had sha256 {then.sha256}, and now {now.sha256}{f' ({note})' if note else ''}"


def _without_file(
    output: Output, then: Content, now: Content, reason: str, tolerance: Tolerance | None
) -> ComparedOutput:
    sizes = [size_in_words(content.facts) for content in (then, now)]
    distance = None
    if sizes[0] != sizes[1]:
        sentence = f"it is {sizes[1]}, and was {sizes[0]}"
    elif then.perceptual is None or now.perceptual is None:
        sentence = "its content differs"
    else:
        distance = hash_distance(then.perceptual, now.perceptual)
        hashes = f"{distance} of 64 bits of its perceptual hash differ"
        sentence = f"its content differs; {hashes if distance else 'its perceptual hash is equal'}"
    if tolerance is not None:
        sentence = f"{sentence}; no tolerance can be applied, because {reason}"
    numbers = None if distance is None else {"hash_distance": distance}
    return ComparedOutput(output=output, verdict="different", sentence=sentence, numbers=numbers)


def _measured(
    before: Output, after: Output, then: Content, now: Content, tolerance: Tolerance | None
) -> ComparedOutput:
    assert before.open is not None, "it was opened before"
    assert after.open is not None, "it was opened before"
    try:
        found = measure(tracks_of(before.open, then.rule), tracks_of(after.open, now.rule))
    except (IncomparableError, UndecodableError) as error:
        return ComparedOutput(output=after, verdict="different", sentence=str(error))
    numbers: dict[str, float | None] = asdict(found)
    if then.perceptual is not None and now.perceptual is not None:
        numbers["hash_distance"] = hash_distance(then.perceptual, now.perceptual)
    if found.is_zero:
        return _same_content(after)
    accepted = tolerance is not None and tolerance.accepts(found)
    verdict: Verdict = "within tolerance" if accepted else "different"
    return ComparedOutput(output=after, verdict=verdict, sentence=found.in_words(), numbers=numbers)
