"""Counts the tests in the JUnit reports that Pants leaves below dist/test/reports."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree


@dataclass(frozen=True, kw_only=True)
class Count:
    """How many tests passed and failed.

    A broken fixture counts as failed, a skipped test as neither.
    """

    passed: int
    failed: int


def count_reports(folder: Path) -> Count:
    """Count the cases of all `*.xml` below the folder; a file that is not XML is one failure."""
    passed = failed = 0
    for report in sorted(folder.rglob("*.xml")):
        try:
            cases = list(ElementTree.parse(report).iter("testcase"))
        except ElementTree.ParseError:
            failed += 1
            continue
        for case in cases:
            if case.find("failure") is not None or case.find("error") is not None:
                failed += 1
            elif case.find("skipped") is None:
                passed += 1
    return Count(passed=passed, failed=failed)
