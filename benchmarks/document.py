"""The finished table: Markdown that also reads well in a terminal, or one JSON document."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from benchmarks.rows import Row

_HEADINGS = ("#", "what", "measured", "wanted", "", "timings: median (least–most)")


def as_markdown(rows: Sequence[Row], facts: Mapping[str, str], notes: Sequence[str]) -> str:
    """`facts` say where and when it was measured, `notes` how."""
    cells = [_HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEADINGS))]
    head, *body = (_line(line, widths) for line in cells)
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    missed = [str(row.target) for row in rows if row.met is False]
    verdict = f"Missed: {', '.join(dict.fromkeys(missed))}." if missed else "Nothing was missed."
    return "\n".join(
        [
            "# Benchmarks",
            "",
            *(f"- {name}: {value}" for name, value in facts.items()),
            "",
            verdict,
            "",
            head,
            rule,
            *body,
            "",
            *(f"- {note}" for note in notes),
        ]
    )


def as_json(rows: Sequence[Row], facts: Mapping[str, str], notes: Sequence[str]) -> str:
    document = {
        "facts": dict(facts),
        "notes": list(notes),
        "rows": [
            {
                "target": row.target,
                "what": row.what,
                "measured": row.measured,
                "wanted": row.wanted,
                "met": row.met,
                "seconds": {name: list(each.seconds) for name, each in row.samples.items()},
            }
            for row in rows
        ],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def _cells(row: Row) -> tuple[str, ...]:
    timings = "; ".join(f"{name} {samples.text}" for name, samples in row.samples.items())
    return (str(row.target), row.what, row.measured, row.wanted, row.verdict, timings or "–")


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return "| " + " | ".join(padded) + " |"
