"""The report of `prove`: what was compared, part by part, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from comfy_errors import ComfyError, MismatchError
from comfy_errors.names import in_lines
from runpod_comfy.cli.proof.junit import JUnitCase

Verdict = Literal["equal", "differs", "failed", "not asked for"]

_NAMED_AT_MOST = 10
_SHORT = 12


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
        return replace(case, failure=failure, text=table([self]))


def failed(name: str, error: ComfyError) -> Part:
    """The part that an error ended: with a comparison that did not hold, it differs."""
    differs = isinstance(error, MismatchError)
    return Part(name=name, verdict="differs" if differs else "failed", error=error)


def table(parts: Sequence[Part]) -> str:
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
