"""The findings of a verification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from runpod_comfy.homes.verify.listing import hashes_of

# The part of a node that was added by hand: it is reported, and stays.
UNMANAGED = "custom_nodes"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A file that differs from the lock. `part` is the layer or the part of the cache.

    `expected` and `found` are hashes, or words if there is nothing to hash.
    """

    part: str
    path: Path
    expected: str
    found: str


@dataclass(kw_only=True)
class Verification:
    """Faults and notes as they are found, and what `take_away` removes so that `realize` makes it
    again: `layers` in the marker, `entries` of the cache, `distributions` in uv's cache, and
    `strays`, files in the home that no layer made and that a new run would keep. `own_models` are
    model files that the user put in place of the version's: they are reported and kept.

    `checked_files` and `checked_bytes` count what was compared.
    """

    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    layers: set[str] = field(default_factory=set)
    entries: set[Path] = field(default_factory=set)
    distributions: set[str] = field(default_factory=set)
    strays: set[Path] = field(default_factory=set)
    own_models: set[Path] = field(default_factory=set)
    checked_files: int = 0
    checked_bytes: int = 0
    seconds: float = 0.0
    _hashes: dict[tuple[int, int] | str, str] = field(default_factory=dict)
    _counted: set[tuple[int, int]] = field(default_factory=set)

    @property
    def unmanaged(self) -> tuple[Path, ...]:
        """Nodes that are not in the lock. They are kept, because the user added them."""
        return tuple(fault.path for fault in self.faults if fault.part == UNMANAGED)

    @property
    def repairable(self) -> tuple[Fault, ...]:
        """The faults that `take_away` and a realization fix."""
        left_alone = {*self.unmanaged, *self.own_models}
        return tuple(fault for fault in self.faults if fault.path not in left_alone)

    def document(self) -> dict[str, object]:
        """The findings as JSON."""
        return {
            "verified": not self.faults,
            "differences": [{**asdict(fault), "path": str(fault.path)} for fault in self.faults],
            "notes": self.notes,
            "files": self.checked_files,
            "bytes": self.checked_bytes,
            "seconds": round(self.seconds, 3),
        }

    def add(self, part: str, path: Path, *, expected: str, found: str) -> None:
        self.faults.append(Fault(part=part, path=path, expected=expected, found=found))

    def count(self, path: Path) -> tuple[int, int] | None:
        """Counts a file once, however many names it has; returns its inode if it exists."""
        try:
            status = path.lstat()
        except OSError:
            return None
        inode = (status.st_dev, status.st_ino)
        if inode not in self._counted:
            self._counted.add(inode)
            self.checked_files += 1
            self.checked_bytes += status.st_size
        return inode

    def hashes_of(self, folder: Path, paths: Sequence[str]) -> dict[str, str]:
        """The hash of each file below `folder`. Each file is counted, and read once for all its
        names.
        """
        keys = {path: self.count(folder / path) or path for path in paths}
        unread = [path for path, key in keys.items() if key not in self._hashes]
        for path, found in zip(unread, hashes_of(folder, unread), strict=True):
            self._hashes[keys[path]] = found
        return {path: self._hashes[key] for path, key in keys.items()}
