"""The documents for users, and the commands in them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "benchmarks" / "results.md"]
)


def name_of(document: Path) -> str:
    return document.relative_to(ROOT).as_posix()


def shell_lines(text: str) -> list[str]:
    """The lines of the ```bash blocks; one that goes on over several is one."""
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
