"""Target 17: from a fresh clone to the first image, against the engine's own build steps."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.clone import clone_project
from benchmarks.images import REPOSITORY, ImageContest
from benchmarks.processes import Program
from benchmarks.rows import Row, ratio_at_most
from benchmarks.samples import Samples
from runpod_comfy.images.docker.build_progress import BuildStep

WHAT, AT_MOST = "fresh clone → first image, in the engine's own build steps", 1.15

_OWN_OF_THE_BUILDER = "[internal]"

NOTES = (
    "17: what `make image` runs, `with_environment.sh runpod-comfy image build`, in a clone "
    "without `.venv`, with `--no-cache`, so that the engine takes no layer from earlier builds. "
    "All caches of packages are full: that of pip or uv for `.venv`, ours of trees, the engine's "
    "of its steps. Beside it stands the sum of what the engine reports for each step, without the "
    "transfer of the context.",
)


def measure(contest: ImageContest) -> list[Row]:
    clone = contest.scratch.new("clone")
    try:
        workspace = contest.material.ours.workspace
        clone_project(clone, workspace=workspace, version=contest.version)
        make = replace(
            contest.material.ours.program,
            command=("sh", "scripts/with_environment.sh"),
            folder=clone,
        )
        contest.say("17: filling the cache of packages for .venv")
        make.seconds()
        shutil.rmtree(clone / ".venv")
        contest.say("17: the first image of a fresh clone")
        contest.scratch.settle()
        return [row(*_first_image(contest, make), _environment_seconds(contest, make, clone))]
    finally:
        contest.scratch.drop(clone)


def row(seconds: float, steps: Sequence[BuildStep], environment_s: float) -> Row:
    """`seconds` is the whole, `environment_s` a part of it: `.venv` alone, measured apart."""
    found = ratio_at_most(
        17,
        WHAT,
        ours=("ours", Samples([seconds])),
        beside=("the engine's steps", Samples([engine_seconds(steps)])),
        at_most=AT_MOST,
    )
    return replace(found, samples={**found.samples, ".venv alone": Samples([environment_s])})


def engine_seconds(steps: Sequence[BuildStep]) -> float:
    """What the engine took for the steps that it ran, without what it did to receive them."""
    return sum(
        step.seconds
        for step in steps
        if not step.cached and not step.name.startswith(_OWN_OF_THE_BUILDER)
    )


def _first_image(contest: ImageContest, make: Program) -> tuple[float, list[BuildStep]]:
    seconds, told = make.document(
        *("runpod-comfy", "image", "build", contest.version, "--base", contest.base),
        *("--tag", f"{REPOSITORY}:first", "--no-cache", "--json"),
    )
    return seconds, [BuildStep(**step) for step in told["steps"]]


def _environment_seconds(contest: ImageContest, make: Program, clone: Path) -> float:
    shutil.rmtree(clone / ".venv")
    contest.scratch.settle()
    return make.seconds()
