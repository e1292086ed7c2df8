"""Target 5: both images again after one node's commit changed, and what would be pushed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from benchmarks.images import OURS, THEIRS, Built, ImageContest
from benchmarks.rows import Row, faster
from benchmarks.samples import Samples

_STEPS_TOLD = 5
_STEP_AT_MOST_S = 0.5
_NAME_CHARS = 40

NOTES = (
    "5: ours is the whole `runpod-comfy image build`, of a version that is locked; theirs is the "
    "engine's build alone. Of five nodes with packages one changes that asks for none. Theirs "
    "installs all nodes in one RUN, from archives and packages on this machine's loopback: nothing "
    "is downloaded, comfy-cli's own time is left out, and no model follows that would have to be "
    "fetched again. Without the check: our time less that of the check's step.",
    "5, context: theirs once with the packages of the nodes from the index, as in a real build of "
    "its Dockerfile, which has no cache for them.",
    "5: pushed is what the new layers weigh, compressed, in a registry on loopback. Layers after "
    "the changed one run again in ours too, and come out with the digests that they had.",
)


def measure(
    contest: ImageContest, downloading: Samples, sizes: Mapping[str, Mapping[str, int]]
) -> list[Row]:
    """The rows, from what `rebuild` did and gave. `sizes` are those of each image's layers."""
    ours, theirs = contest.ours, contest.theirs
    whole = Samples([built.seconds for built in ours[1:]])
    checks = Samples([built.seconds_of("check") for built in ours[1:]])
    unchecked = Samples([built.seconds - built.seconds_of("check") for built in ours[1:]])
    worker = ("worker-comfyui's layout", Samples([built.seconds for built in theirs[1:]]))
    return [
        faster(
            5,
            "image rebuilt with one node's new commit, times as fast",
            ours=("ours", whole),
            theirs=worker,
            at_least=2,
        ),
        replace(
            faster(
                5,
                "the same without the check",
                ours=("ours", unchecked),
                theirs=worker,
                at_least=10,
            ),
            samples={"ours": unchecked, worker[0]: worker[1], "the check": checks},
        ),
        faster(
            5,
            "the same with the check, where theirs downloads the packages of its nodes",
            ours=("ours", whole),
            theirs=("worker-comfyui's layout", downloading),
        ),
        slowest_step(ours[1:]),
        *layer_rows(ours[-2:], theirs[-2:], sizes),
    ]


def slowest_step(builds: Sequence[Built]) -> Row:
    """Of the layers that a build made again, without the check."""
    seconds = [
        step.seconds
        for built in builds
        for step in built.steps
        if is_layer(step.name) and not step.cached and step.name != "check"
    ]
    return Row(
        target=5,
        what="the slowest step of these builds, without the check",
        measured=f"{max(seconds):.2f} s",
        wanted=f"≤ {_STEP_AT_MOST_S:g} s",
        met=max(seconds) <= _STEP_AT_MOST_S,
        samples={"such steps": Samples(seconds)},
    )


def rebuild(contest: ImageContest) -> Samples:
    """Edits, and builds both in turn, as often as there are rounds.

    Gives the time of one more build of theirs, which downloads the packages of its nodes.
    """
    contest.edit()
    contest.say("5: rebuild of theirs with downloads")
    contest.scratch.settle()
    downloading = contest.build_theirs_from_index()
    contest.say(in_short(downloading))
    for number in range(contest.rounds):
        contest.edit()
        turns = [("ours", contest.build_ours), ("theirs", contest.build_theirs)]
        for name, build in turns if number % 2 == 0 else reversed(turns):
            contest.say(f"5: rebuild {number + 1} of {contest.rounds}: {name}")
            contest.scratch.settle()
            contest.say(in_short(build()))
    return Samples([downloading.seconds])


def in_short(built: Built) -> str:
    """Where the time went: the steps that took the longest."""
    steps = sorted(built.steps, key=lambda step: -step.seconds)[:_STEPS_TOLD]
    told = ", ".join(f"{step.name[:_NAME_CHARS]} {step.seconds:.1f} s" for step in steps)
    return f"5: {built.seconds:.1f} s, of which: {told}"


def layer_rows(
    ours: Sequence[Built], theirs: Sequence[Built], sizes: Mapping[str, Mapping[str, int]]
) -> list[Row]:
    """What is new in the second of two builds of each: layers, and their bytes."""
    mine, others = ours[1].new_since(ours[0]), theirs[1].new_since(theirs[0])
    names = [step.name for step in ours[1].steps if not step.cached and is_layer(step.name)]
    bytes_of_ours = sum(sizes[OURS][layer] for layer in mine)
    bytes_of_theirs = sum(sizes[THEIRS][layer] for layer in others)
    return [
        Row(
            target=5,
            what=f"layers that are new; run again were {', '.join(names)}",
            measured=f"{len(mine)} (theirs {len(others)})",
            wanted="2: the node's, the check's",
            met=len(mine) == 2,
        ),
        Row(
            target=5,
            what="bytes to push",
            measured=f"{in_words(bytes_of_ours)} (theirs {in_words(bytes_of_theirs)})",
            wanted="≤ the node's and the check's layer",
            met=len(mine) == 2,
        ),
    ]


def is_layer(step: str) -> bool:
    """Whether a step is a layer of ours: BuildKit's own have names in brackets or sentences."""
    return " " not in step and not step.startswith("[")


def in_words(size: int) -> str:
    """`1.2 MB`: of 10⁶ bytes, as registries count."""
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
