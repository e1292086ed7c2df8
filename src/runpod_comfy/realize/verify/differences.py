"""What a verification finds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A file that is not what the lock says. `part` is the layer or the part of the cache.

    `expected` and `found` are hashes, or words where there is nothing to hash.
    """

    part: str
    path: Path
    expected: str
    found: str

    def document(self) -> dict[str, str]:
        return {
            "part": self.part,
            "path": str(self.path),
            "expected": self.expected,
            "found": self.found,
        }


@dataclass(kw_only=True)
class Findings:
    """Faults and notes as they are found, and what would have to go for `realize` to mend them:
    `layers` to make again, `entries` of the cache, `distributions` in uv's cache, and `strays`,
    files in the home that no layer made and that making it again leaves.

    `checked_files` and `checked_bytes` count what was compared.
    """

    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    layers: set[str] = field(default_factory=set)
    entries: set[Path] = field(default_factory=set)
    distributions: set[str] = field(default_factory=set)
    strays: set[Path] = field(default_factory=set)
    checked_files: int = 0
    checked_bytes: int = 0
    _counted: set[tuple[int, int]] = field(default_factory=set)

    def add(self, part: str, path: Path, *, expected: str, found: str) -> None:
        self.faults.append(Fault(part=part, path=path, expected=expected, found=found))

    def count(self, path: Path) -> None:
        """Counts a file once, by however many names it is found."""
        try:
            status = path.lstat()
        except OSError:
            return
        if (status.st_dev, status.st_ino) not in self._counted:
            self._counted.add((status.st_dev, status.st_ino))
            self.checked_files += 1
            self.checked_bytes += status.st_size
