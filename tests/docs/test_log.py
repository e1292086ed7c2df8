"""docs/contracts.md lists every event of a worker's log."""

from __future__ import annotations

import re

from tests.program import ROOT


def test_the_table_has_exactly_the_events_of_the_code() -> None:
    sources = [path.read_text() for path in (ROOT / "src/rp_handler").rglob("*.py")]
    noted = re.compile(r'(?:note|_write|_begin)\(\s*"(\w+)"')
    events = {name for source in sources for name in noted.findall(source)}
    document = (ROOT / "docs/contracts.md").read_text()
    section = document.split("## Log of a worker")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == events
