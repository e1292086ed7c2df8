"""The rows of the targets 5 to 8 and 17, and what the table says where no engine answers."""

from __future__ import annotations

from collections.abc import Callable, Collection

from benchmarks import (
    images_first,
    images_first_result,
    images_rebuild,
    images_size,
    images_twice,
)
from benchmarks.images import OURS, THEIRS, ImageContest, image_contest
from benchmarks.rows import Row, not_measured
from benchmarks.scratch import Scratch
from comfy_errors import UnavailableError
from runpod_comfy.images.docker.connection import NoEngineError, connect

NOTES = {
    5: images_rebuild.NOTES,
    6: images_size.NOTES,
    7: images_twice.NOTES,
    8: images_first_result.NOTES,
    17: images_first.NOTES,
}

_UNMEASURED = {
    5: ("image rebuilt with one node's new commit, times as fast", "≥ 2×"),
    6: ("image size against the same above nvidia/cuda", "≤ 0.8×"),
    7: (images_twice.WHAT, images_twice.WANTED),
    8: (images_first_result.WHAT, f"≤ {images_first_result.AT_MOST:g}×"),
    17: (images_first.WHAT, f"≤ {images_first.AT_MOST:g}×"),
}


def measure(
    scratch: Scratch,
    say: Callable[[str], None],
    targets: Collection[int],
    *,
    rounds: int,
    base: str,
) -> list[Row]:
    """The rows of those of the targets 5 to 8 and 17 that are in `targets`."""
    try:
        client = connect()
    except NoEngineError as error:
        say(f"5–8, 17: {error.in_words()}")
        return unmeasured(targets, "no Docker engine")
    try:
        with image_contest(client, scratch, say, rounds=rounds, base=base) as contest:
            return _rows(contest, set(targets) & set(NOTES))
    except UnavailableError as error:
        say(f"5–8, 17: {error.in_words()}")
        return unmeasured(targets, "something is missing, see above the table")


def _rows(contest: ImageContest, targets: Collection[int]) -> list[Row]:
    rows = []
    if targets == {17}:
        contest.say("17: our image, which fills the caches")
        contest.build_ours()
    elif targets != {7}:
        contest.build_both()
    downloading = images_rebuild.rebuild(contest) if 5 in targets else None
    if 8 in targets:
        rows += images_first_result.measure(contest)
    if not {5, 6}.isdisjoint(targets):
        sizes = {name: contest.pushed_sizes(name) for name in (OURS, THEIRS)}
        if downloading is not None:
            rows += images_rebuild.measure(contest, downloading, sizes)
        if 6 in targets:
            rows += images_size.measure(contest, sizes)
    if 7 in targets:
        # Two more images of this size come.
        contest.room.clear(keep_packages=True)
        rows += images_twice.measure(contest)
    if 17 in targets:
        contest.room.clear(keep_packages=True)
        rows += images_first.measure(contest)
    return rows


def unmeasured(targets: Collection[int], why: str) -> list[Row]:
    return [
        not_measured(target, what, wanted=wanted, why=why)
        for target, (what, wanted) in _UNMEASURED.items()
        if target in targets
    ]
