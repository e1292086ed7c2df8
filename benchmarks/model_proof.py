"""Targets 12 and 13: how fast models are proven, once and again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from time import monotonic

from benchmarks.bare_versions import BareVersions
from benchmarks.model_files import BenchModel, write_model
from benchmarks.rows import Row, faster, seconds_at_most
from benchmarks.samples import Samples
from benchmarks.scratch import Scratch

_LARGE = 6
_LARGE_BYTES = 1_000_000_000
_ROUNDS = 3
_SMALL = 1000
_SMALL_BYTES = 10_000
_RUNS = 9
_CHUNK_BYTES = 1 << 20

NOTES_COLD = (
    "12: `verify-models --rehash`, as a program of its own, of files that lie in the models folder "
    "and not in the page cache (posix_fadvise, after a sync). Beside it the same files, cold "
    "again, only read, and their bytes hashed from memory; both with a thread for each core. Ours "
    "is compared with the slower of the two.",
)
NOTES_KNOWN = (
    f"13: {_SMALL:,} files of {_SMALL_BYTES // 1000} kB in one version, in the models folder.",
)


def measure_cold(scratch: Scratch, say: Callable[[str], None]) -> list[Row]:
    """Ours, reading and hashing, in turn."""
    folder = scratch.new("proof")
    models_dir = folder / "models"
    models = [
        write_model(models_dir / "checkpoints" / f"large-{number}.safetensors", _LARGE_BYTES)
        for number in range(_LARGE)
    ]
    files = [model.path for model in models]
    versions = BareVersions(folder)
    version = _verified(versions, models, models_dir)
    verified: list[float] = []
    read: list[float] = []
    hashed: list[float] = []

    def our_turn() -> None:
        program = versions.ours.program
        options = ("--models-dir", models_dir, "--rehash")
        verified.append(program.seconds("verify-models", version, *options))

    def their_turn() -> None:
        read.append(_seconds(_read, files))

    for number in range(_ROUNDS):
        say(f"12: cold files, round {number + 1} of {_ROUNDS}")
        turns = (our_turn, their_turn)
        for turn in turns if number % 2 == 0 else reversed(turns):
            scratch.settle()
            _forget(files)
            turn()
        hashed.append(_seconds(_hash, files))
    scratch.drop(folder)
    return [cold_row(Samples(verified), Samples(read), Samples(hashed))]


def cold_row(verified: Samples, read: Samples, hashed: Samples) -> Row:
    """All three of the same files. What bounds us is named in the row."""
    bounds = {"reading": read, "hashing": hashed}
    slower = max(bounds, key=lambda name: bounds[name].median)
    row = faster(
        12,
        f"verify-models of {_LARGE} GB, cold, in the rate of {slower} on all cores",
        ours=("ours", verified),
        theirs=(slower, bounds[slower]),
        at_least=0.9,
    )
    return replace(row, samples={"ours": verified, **bounds})


def measure_known(scratch: Scratch, say: Callable[[str], None]) -> list[Row]:
    """The whole command, when every file is remembered."""
    say(f"13: {_SMALL:,} verified files, {_RUNS} times")
    folder = scratch.new("proof")
    models_dir = folder / "models"
    models = [
        write_model(models_dir / "checkpoints" / f"small-{number}.safetensors", _SMALL_BYTES)
        for number in range(_SMALL)
    ]
    versions = BareVersions(folder)
    version = _verified(versions, models, models_dir)
    arguments = ("verify-models", version, "--models-dir", models_dir)
    scratch.settle()
    times = Samples([versions.ours.program.seconds(*arguments) for _ in range(_RUNS)])
    scratch.drop(folder)
    what = f"verify-models of {_SMALL:,} files that are verified already"
    return [seconds_at_most(13, what, ours=("ours", times), at_most=0.5)]


def _verified(versions: BareVersions, models: Sequence[BenchModel], models_dir: Path) -> str:
    """A version of `models`, which lie in their places already and are verified once."""
    version = versions.write(models=[model.in_spec(str(model.path)) for model in models])
    versions.ours.resolve(version)
    versions.ours.program.seconds("verify-models", version, "--models-dir", models_dir)
    return version


def _forget(files: Sequence[Path]) -> None:
    """Takes the files out of the page cache; what is not written yet would stay there."""
    for path in files:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _seconds(work: Callable[[Path], None], files: Sequence[Path]) -> float:
    """How long `work` takes for all files, with a thread for each core."""
    started = monotonic()
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(work, files))
    return monotonic() - started


def _read(path: Path) -> None:
    buffer = bytearray(_CHUNK_BYTES)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def _hash(path: Path) -> None:
    """As many bytes as the file has, always from the same memory."""
    buffer = memoryview(bytearray(_CHUNK_BYTES))
    content = hashlib.sha256()
    left = path.stat().st_size
    while left > 0:
        content.update(buffer[:left])
        left -= len(buffer)
