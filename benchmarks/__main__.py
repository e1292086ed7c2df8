"""`make bench`: measures the chosen targets and prints one table on standard output."""

from __future__ import annotations

import argparse
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import (
    comfy_cli,
    empty_caches,
    first_picture,
    full_caches,
    growth,
    help_text,
    image_rows,
    job_rows,
    many_nodes,
    model_download,
    model_proof,
    nothing_to_do,
)
from benchmarks.contest import make_contest
from benchmarks.document import as_json, as_markdown
from benchmarks.material import RELEASE, TORCH
from benchmarks.rows import Row
from benchmarks.scratch import Scratch, scratch
from comfy_errors import ComfyError
from runpod_comfy.cache.paths import Cache
from runpod_comfy.images.base.catalogue import DEFAULT_BASE
from runpod_comfy.project import PACKAGES
from runpod_comfy.sources.index.pip_settings import uv_program

TARGETS = tuple(range(1, 20))
_INSTALLING = {1, 2, 3, 4, 16}
_IMAGES = {5, 6, 7, 8, 17}
_JOBS = {9, 10, 18}
# An engine may keep its images elsewhere; mostly it does not.
_NEEDED_BYTES = {
    **dict.fromkeys(_INSTALLING, 28_000_000_000),
    **dict.fromkeys(_IMAGES, 20_000_000_000),
    **dict.fromkeys((7, 17), 28_000_000_000),
    **dict.fromkeys((11, 12), 12_000_000_000),
    **dict.fromkeys(_JOBS, 8_000_000_000),
}
_NEEDED_BYTES_SMALL = 1_000_000_000
_INTERRUPTED = 130


def main() -> int:
    """Exit codes are those of `runpod-comfy`; a target that is missed is no error."""
    options = _parser().parse_args()
    targets = set(options.targets) or set(TARGETS)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    needed = max(_NEEDED_BYTES.get(target, _NEEDED_BYTES_SMALL) for target in targets)
    started = time.monotonic()
    load = _load()
    try:
        with scratch(options.folder.expanduser().absolute(), needed_bytes=needed) as room:
            rows = measure(room, targets, options)
            peak = room.peak_bytes
    except ComfyError as error:
        say(error.in_words())
        return error.exit_code
    except KeyboardInterrupt:
        say("interrupted; everything that was made is removed")
        return _INTERRUPTED
    facts = {
        **_machine(),
        "load before and after": f"{load} and {_load()}",
        "took": f"{(time.monotonic() - started) / 60:.0f} minutes, {peak / 1e9:.0f} GB of disk",
    }
    document = as_json if options.as_json else as_markdown
    print(document(rows, facts, _notes(targets)))
    return 0


def measure(room: Scratch, targets: Collection[int], options: argparse.Namespace) -> list[Row]:
    """The rows of the chosen targets, in their order."""
    rows = []
    if 11 in targets:
        rows += model_download.measure(room, say)
    if 12 in targets:
        rows += model_proof.measure_cold(room, say)
    if 13 in targets:
        rows += model_proof.measure_known(room, say)
    if 14 in targets:
        say("14: --help")
        rows += help_text.measure(room)
    if 15 in targets:
        rows += growth.measure(room, say)
    if 19 in targets:
        rows += many_nodes.measure(room, say)
    if not _JOBS.isdisjoint(targets):
        rows += job_rows.measure(room, say, targets, repository=options.worker.absolute())
    if not _INSTALLING.isdisjoint(targets):
        contest = make_contest(room, say, options.rounds)
        if 16 in targets:
            rows += first_picture.measure(contest)
        # The first of them leaves caches that the others need full.
        if 3 in targets:
            rows += empty_caches.measure(contest)
        if 2 in targets:
            rows += nothing_to_do.measure(contest)
        if not {1, 4}.isdisjoint(targets):
            rows += full_caches.measure(contest, targets)
    if not _IMAGES.isdisjoint(targets):
        rows += image_rows.measure(room, say, targets, rounds=options.rounds, base=options.base)
    return sorted(rows, key=lambda row: row.target)


def say(message: str) -> None:
    sys.stderr.write(f"bench: {message}\n")
    sys.stderr.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "targets",
        nargs="*",
        type=int,
        choices=TARGETS,
        default=[],
        metavar="TARGET",
        help=f"which ones: {', '.join(map(str, TARGETS))}; default: all",
    )
    parser.add_argument("--rounds", type=int, default=2, help="how often, for the long ones (2)")
    parser.add_argument(
        "--base",
        default=DEFAULT_BASE,
        help="what the images of 5 to 8 and 17 are based on, a name or an image (cpu)",
    )
    parser.add_argument(
        "--worker",
        type=Path,
        default=PACKAGES.parent.with_name("worker-comfyui"),
        metavar="FOLDER",
        help="worker-comfyui's repository, for 9, 10 and 18 (../worker-comfyui)",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=Cache.from_environment().root.with_name("runpod-comfy-bench"),
        help="where to work; everything in it is removed (~/.cache/runpod-comfy-bench)",
    )
    parser.add_argument("--json", dest="as_json", action="store_true", help="print JSON")
    return parser


def _machine() -> dict[str, str]:
    uv = subprocess.run([uv_program(), "--version"], capture_output=True, text=True, check=True)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "when": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{os.cpu_count()} cores, {memory / 1e9:.0f} GB of memory, "
        f"{platform.system()} {platform.machine()}",
        "versions": f"ComfyUI {RELEASE.removeprefix('v')}, torch {TORCH}, "
        f"Python {platform.python_version()}, {' '.join(uv.stdout.split()[:2])}, "
        f"comfy-cli {comfy_cli.VERSION}",
    }


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}"


def _notes(targets: Collection[int]) -> list[str]:
    notes = [
        "Each in turn on the same machine, with the same package indexes and the same versions of "
        "all packages; every cache is the contestant's own. Seconds are context, ratios count.",
    ]
    by_target = [
        ({1, 4}, full_caches.NOTES),
        ({2}, nothing_to_do.NOTES),
        ({3}, empty_caches.NOTES),
        *(({target}, about) for target, about in image_rows.NOTES.items()),
        *(({target}, about) for target, about in job_rows.NOTES.items()),
        ({16}, first_picture.NOTES),
        ({11}, model_download.NOTES),
        ({12}, model_proof.NOTES_COLD),
        ({13}, model_proof.NOTES_KNOWN),
        ({14}, help_text.NOTES),
        ({15}, growth.NOTES),
        ({19}, many_nodes.NOTES),
    ]
    for about, its_notes in by_target:
        if not about.isdisjoint(targets):
            notes += its_notes
    return notes


if __name__ == "__main__":
    sys.exit(main())
