"""Target 3: from empty caches to an engine that answers."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.contest import Contest
from benchmarks.rows import Row, faster
from benchmarks.samples import Samples

NOTES = (
    "3: ours is one `run --ui` on an empty cache, its check of the new home included; theirs is "
    "`comfy install --fast-deps`, which checks nothing, and then `comfy launch`. "
    "Neither brings models, since `comfy install` does not.",
)


def measure(contest: Contest) -> list[Row]:
    """Both in turn, each time with new caches; leaves the last ones filled."""
    ours: list[float] = []
    installs: list[float] = []
    starts: list[float] = []

    def our_turn() -> None:
        home = contest.scratch.new("home")
        contest.scratch.settle()
        ours.append(contest.ours.start(contest.version, home))
        contest.scratch.drop(home)

    def their_turn() -> None:
        workspace = contest.scratch.new("comfy-cli")
        contest.scratch.settle()
        installs.append(contest.theirs.install(workspace))
        starts.append(contest.theirs.start(workspace))
        contest.scratch.drop(workspace)

    for number in range(contest.rounds):
        contest.say(f"3: empty caches to engine, round {number + 1} of {contest.rounds}")
        contest.empty_caches()
        turns = (our_turn, their_turn) if number % 2 == 0 else (their_turn, our_turn)
        for turn in turns:
            turn()
    contest.filled = True
    install, start = Samples(installs), Samples(starts)
    whole = ("ours", Samples(ours))
    row = faster(
        3,
        "empty caches → engine answers, times as fast as comfy-cli",
        ours=whole,
        theirs=("comfy-cli", install.plus(start)),
        at_least=1.4,
    )
    parts = {"its install": install, "its first start": start}
    return [replace(row, samples={**row.samples, **parts})]
