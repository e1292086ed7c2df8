"""Targets 1 and 4: a new version from full caches, and the starts of its engine."""

from __future__ import annotations

from collections.abc import Collection

from benchmarks.contest import Contest
from benchmarks.pip_and_git import PipAndGit, fill_wheels
from benchmarks.rows import Row, faster, ratio_at_most, seconds_at_most
from benchmarks.samples import Samples

NOTES = (
    "1: a new home whose packages, core, node and check are in the cache; theirs is a new "
    "workspace with its own caches full. pip installs from a folder of wheels, without resolving.",
    "1, context: the same with a commit of the node that was never checked, so that the engine is "
    "started once.",
    "4: starts are `run --ui` and `comfy launch`, until `/system_stats` answers. comfy-cli's "
    "workspace lacks `requests`, which ComfyUI 0.3.75 imports and does not ask for; it is added "
    "before the start, untimed.",
)


def measure(contest: Contest, targets: Collection[int]) -> list[Row]:
    """Ours and comfy-cli in turn, pip once at the end."""
    contest.fill_caches()
    ours: list[float] = []
    first: list[float] = []
    second: list[float] = []
    theirs: list[float] = []
    their_first: list[float] = []

    def our_turn() -> None:
        home = contest.scratch.new("home")
        contest.scratch.settle()
        ours.append(contest.ours.realize(contest.version, home))
        if 4 in targets:
            first.append(contest.ours.start(contest.version, home))
            second.append(contest.ours.start(contest.version, home))
        contest.scratch.drop(home)

    def their_turn() -> None:
        workspace = contest.scratch.new("comfy-cli")
        contest.scratch.settle()
        theirs.append(contest.theirs.install(workspace))
        if 4 in targets:
            their_first.append(contest.theirs.start(workspace))
        contest.scratch.drop(workspace)

    # The first home of a cache may find less there than all later ones.
    contest.ours.realize(contest.version, spare := contest.scratch.new("home"))
    contest.scratch.drop(spare)
    for number in range(contest.rounds + 1):
        contest.say(f"1, 4: full caches, round {number + 1} of {contest.rounds + 1}")
        turns = (our_turn, their_turn) if number % 2 == 0 else (their_turn, our_turn)
        for turn in turns:
            turn()
    rows = []
    if 1 in targets:
        rows += _new_version_rows(contest, Samples(ours), Samples(theirs))
    if 4 in targets:
        rows += _start_rows(Samples(first), Samples(second), Samples(their_first))
    return rows


def _new_version_rows(contest: Contest, ours: Samples, theirs: Samples) -> list[Row]:
    by_hand = Samples([_by_hand(contest)])
    moved = Samples([_moved(contest) for _ in range(contest.rounds)])
    mine = ("ours", ours)
    return [
        seconds_at_most(1, "realize a new version, all cached", ours=mine, at_most=1.5),
        faster(
            1,
            "the same, times as fast as comfy-cli install",
            ours=mine,
            theirs=("comfy-cli", theirs),
            at_least=7,
        ),
        faster(
            1,
            "the same, times as fast as git clone + pip from wheels",
            ours=mine,
            theirs=("pip", by_hand),
            at_least=40,
        ),
        faster(
            1,
            "with a node's new commit and its check, times as fast as comfy-cli install",
            ours=("ours", moved),
            theirs=("comfy-cli", theirs),
        ),
    ]


def _start_rows(first: Samples, second: Samples, theirs: Samples) -> list[Row]:
    mine = ("first", first)
    return [
        ratio_at_most(
            4, "first start, in second starts", ours=mine, beside=("second", second), at_most=1.05
        ),
        faster(
            4,
            "first start, times as fast as comfy-cli's",
            ours=mine,
            theirs=("comfy-cli's first", theirs),
            at_least=1.5,
        ),
    ]


def _moved(contest: Contest) -> float:
    version = contest.material.next_version()
    home = contest.scratch.new("home")
    contest.scratch.settle()
    seconds = contest.ours.realize(version, home)
    contest.scratch.drop(home)
    return seconds


def _by_hand(contest: Contest) -> float:
    contest.say("1: pip: downloading a folder of wheels, untimed")
    wheels, workspace = contest.scratch.new("wheels"), contest.scratch.new("by-hand")
    fill_wheels(contest.material, wheels)
    contest.say("1: git clone and pip, once")
    contest.scratch.settle()
    seconds = PipAndGit(material=contest.material, wheels=wheels).install(workspace)
    contest.scratch.drop(wheels, workspace)
    return seconds
