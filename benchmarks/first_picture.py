"""Target 16: from a fresh clone and empty caches to the first picture."""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.clone import clone_project
from benchmarks.comfy_cli import VERSION
from benchmarks.contest import Contest
from benchmarks.image_material import WORKFLOW
from benchmarks.processes import Program
from benchmarks.rows import Row, ratio_at_most
from benchmarks.samples import Samples
from benchmarks.variables import variables_in_home
from comfy_errors import OperationFailedError

_POLL_S = 0.05

NOTES = (
    "16: ours is `make run` in a fresh clone: it makes `.venv`, realizes the version, checks it; "
    "the clone itself is left out. Theirs is `pip install comfy-cli` in a new environment, "
    "`comfy install --fast-deps`, `comfy launch`, and the graph posted to it. The graph makes "
    "a picture of 512².",
)


def measure(contest: Contest) -> list[Row]:
    """Both in turn, each time with an empty home folder."""
    ours: list[float] = []
    theirs: list[float] = []
    turns: tuple[Callable[[], None], ...] = (
        lambda: ours.append(_our_picture(contest)),
        lambda: theirs.append(_their_picture(contest)),
    )
    for number in range(contest.rounds):
        contest.say(f"16: nothing to picture, round {number + 1} of {contest.rounds}")
        for turn in turns if number % 2 == 0 else reversed(turns):
            turn()
    return [
        ratio_at_most(
            16,
            "fresh clone, empty caches → picture, in comfy-cli's time",
            ours=("ours", Samples(ours)),
            beside=("comfy-cli", Samples(theirs)),
            at_most=1.0,
        )
    ]


def _our_picture(contest: Contest) -> float:
    person, clone = contest.scratch.new("person"), contest.scratch.new("clone")
    clone_project(clone, workspace=contest.material.workspace, version=contest.version)
    (clone / "workflows" / "bench.json").write_text(json.dumps(WORKFLOW))
    make = Program(
        command=("make", "run"),
        variables=variables_in_home(person),
        folder=clone,
        log=contest.scratch.root / "make-run.log",
    )
    contest.scratch.settle()
    seconds = make.seconds(f"VERSION={contest.version}", "WORKFLOW=workflows/bench.json")
    _require_picture(clone / "outputs")
    contest.scratch.drop(person, clone)
    return seconds


def _their_picture(contest: Contest) -> float:
    caches, workspace = contest.scratch.new("caches"), contest.scratch.new("comfy-cli")
    caches.mkdir()
    theirs = replace(contest.theirs, tool=caches / "tool", caches=caches)
    python = Program(
        command=(getattr(sys, "_base_executable", sys.executable),),
        variables=theirs.variables,
        folder=caches,
        log=caches / "pip.log",
    )
    pip = replace(python, command=(str(theirs.tool / "bin" / "pip"),))
    contest.scratch.settle()
    seconds = python.seconds("-m", "venv", theirs.tool)
    seconds += pip.seconds("install", f"comfy-cli=={VERSION}")
    seconds += theirs.install(workspace)
    seconds += theirs.start(workspace, then=_make_picture)
    _require_picture(workspace / "output")
    contest.scratch.drop(caches, workspace)
    return seconds


def _make_picture(port: int) -> None:
    """Posts the graph to the engine on `port`, and waits until it has run."""
    address = f"http://127.0.0.1:{port}"
    body = json.dumps({"prompt": WORKFLOW}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{address}/prompt", body, headers)
    prompt = _answer(request)["prompt_id"]
    while prompt not in _answer(f"{address}/history/{prompt}"):
        time.sleep(_POLL_S)


def _answer(request: urllib.request.Request | str) -> dict[str, Any]:
    with urllib.request.urlopen(request) as response:
        document: dict[str, Any] = json.load(response)
        return document


def _require_picture(folder: Path) -> None:
    if not any(folder.rglob("*.png")):
        raise OperationFailedError(
            f"no picture was made below {folder}", remedy="Look at the logs of the benchmark."
        )
