"""Target 11: one model from a server of this machine, beside curl."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from benchmarks.bare_versions import BareVersions
from benchmarks.file_server import file_server
from benchmarks.model_files import BenchModel, write_model
from benchmarks.processes import Program
from benchmarks.rows import Row, faster, not_measured
from benchmarks.samples import Samples
from benchmarks.scratch import Scratch
from benchmarks.variables import plain_variables

_LIMIT_BYTES_S = 20_000_000
_LIMITED_BYTES = 1_000_000_000
# As large as usual checkpoints, so that no start of a program is most of it.
_UNLIMITED_BYTES = 4_000_000_000
_ROUNDS_LIMITED = 2
_ROUNDS_UNLIMITED = 5
_MEMORY_BYTES = 200_000_000
_LIMITED = "a model from a server that gives each connection 20 MB/s, times as fast as curl"

NOTES = (
    "11: ours is `verify-models` of a version with one model, as a program of its own, with an "
    "empty model store: Python's start and sha256 included. Theirs is `curl --output`; it hashes "
    "nothing, except in the row with sha256sum. The server is a program of its own that sends from "
    "memory, and has its part of the cores. Files are gone before the next run, and the disk has "
    "written what is left.",
)


def measure(scratch: Scratch, say: Callable[[str], None]) -> list[Row]:
    """Ours and curl in turn: a server with a limit for each connection, then one without."""
    if shutil.which("curl") is None:
        return [not_measured(11, _LIMITED, wanted="≥ 6×", why="curl is not here")]
    folder = scratch.new("download")
    versions = BareVersions(folder)
    served = folder / "served"
    small = write_model(served / "small.safetensors", _LIMITED_BYTES)
    with file_server(served, limit_bytes_s=_LIMIT_BYTES_S) as address:
        limited = _Downloads(scratch, versions, small, f"{address}{small.path.name}")
        limited.rounds(_ROUNDS_LIMITED, lambda text: say(f"11: 20 MB/s, {text}"))
    large = write_model(served / "large.safetensors", _UNLIMITED_BYTES)
    with file_server(served) as address:
        unlimited = _Downloads(scratch, versions, large, f"{address}{large.path.name}")
        unlimited.rounds(_ROUNDS_UNLIMITED, lambda text: say(f"11: no limit, {text}"))
    scratch.drop(folder)
    ours, curl = Samples(unlimited.ours), Samples(unlimited.curl)
    return [
        faster(
            11,
            _LIMITED,
            ours=("ours", Samples(limited.ours)),
            theirs=("curl", Samples(limited.curl)),
            at_least=6,
        ),
        faster(
            11,
            f"{_UNLIMITED_BYTES / 1e9:g} GB without a limit, sha256 included, times as fast as "
            "curl",
            ours=("ours", ours),
            theirs=("curl", curl),
            at_least=0.95,
        ),
        faster(
            11,
            "the same, where theirs hashes too",
            ours=("ours", ours),
            theirs=("curl, then sha256sum", curl.plus(Samples(unlimited.sums))),
        ),
        memory_row([*limited.peaks, *unlimited.peaks]),
    ]


def memory_row(peaks: list[int]) -> Row:
    """The most memory that one of our downloads took, in bytes."""
    return Row(
        target=11,
        what="memory of ours at its peak",
        measured=f"{max(peaks) / 1e6:.0f} MB",
        wanted=f"< {_MEMORY_BYTES / 1e6:.0f} MB",
        met=max(peaks) < _MEMORY_BYTES,
    )


@dataclass
class _Downloads:
    """Downloads of one file, in seconds; `peaks` are bytes of memory of ours."""

    scratch: Scratch
    versions: BareVersions
    model: BenchModel
    url: str
    ours: list[float] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)
    curl: list[float] = field(default_factory=list)
    sums: list[float] = field(default_factory=list)

    def rounds(self, number: int, say: Callable[[str], None]) -> None:
        version = self.versions.write(models=[self.model.in_spec(self.url)])
        self.versions.ours.resolve(version)
        for index in range(number):
            say(f"round {index + 1} of {number}")
            turns = (partial(self._our_turn, version), self._their_turn)
            for turn in turns if index % 2 == 0 else reversed(turns):
                place = self.scratch.new("place")
                self.scratch.settle()
                turn(place)
                self.scratch.drop(place)

    def _our_turn(self, version: str, place: Path) -> None:
        ours = self.versions.ours.program
        store = {"COMFY_CACHE_MODELS": str(place / "store")}
        ours = replace(ours, variables={**ours.variables, **store})
        options = ("--models-dir", place / "models")
        seconds, peak = ours.seconds_and_peak("verify-models", version, *options)
        self.ours.append(seconds)
        self.peaks.append(peak)

    def _their_turn(self, place: Path) -> None:
        place.mkdir()
        curl = Program(
            command=("curl", "--silent", "--show-error", "--fail"),
            variables=plain_variables(),
            folder=place,
            log=place / "log",
        )
        self.curl.append(curl.seconds("--output", self.model.path.name, self.url))
        sha256sum = replace(curl, command=("sha256sum",))
        self.sums.append(sha256sum.seconds(self.model.path.name))
