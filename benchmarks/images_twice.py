"""Target 7: one lock built twice without a cache."""

from __future__ import annotations

from benchmarks.images import ImageContest
from benchmarks.rows import Row
from benchmarks.samples import Samples
from comfy_errors import OperationFailedError

WHAT, WANTED = "two builds without a cache: equal layer digests", "all"

NOTES = ("7: `runpod-comfy image verify` on this one engine, packages from a full cache.",)


def measure(contest: ImageContest) -> list[Row]:
    contest.say("7: two builds without a cache")
    contest.scratch.settle()
    try:
        seconds, told = contest.material.ours.program.document(
            *("image", "verify", contest.version, "--base", contest.base, "--json")
        )
    except OperationFailedError as error:
        contest.say(error.message)
        return [Row(target=7, what=WHAT, measured="they differ", wanted=WANTED, met=False)]
    (engine,) = told["engines"]
    return [
        Row(
            target=7,
            what=WHAT,
            measured=f"all {len(engine['layers'])}",
            wanted=WANTED,
            met=True,
            samples={"both builds": Samples([seconds])},
        )
    ]
