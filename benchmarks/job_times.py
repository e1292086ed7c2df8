"""Targets 9 and 18: what a handler adds to the time of a job."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

from benchmarks.job_graphs import Answer, Graph, new_picture, with_seed
from benchmarks.rows import Row, added_at_most
from benchmarks.samples import Samples

Poster = Callable[[Graph], Answer]
"""Answers a job."""

OURS, STRAIGHT = "ours", "straight"
AT_MOST_MS = 3.0
NEW = "a job, 512² in base64, longer than posted straight to ComfyUI"
REPEATED = "a repeated job, longer than posted straight"
SEED = "a job whose seed alone changed, longer than posted straight"
RAN = "nodes that run: repeated; seed changed"
RAN_WANTED = "none; 4, 5"

_BLOCKS, _UNTIMED, _TIMED = 15, 2, 10

NOTES_9 = (
    "9: EmptyImage and SaveImage, each time in another colour. The handlers, ours and "
    "worker-comfyui's own, are programs of their own behind the local API of RunPod's SDK, in the "
    "same version; its HTTP is in their times. All use one engine, the demo's ComfyUI on the CPU. "
    "Straight is a client with open connections: POST /prompt, the socket until the end, /history, "
    f"/view, base64. In turn {_BLOCKS} times {_UNTIMED + _TIMED} jobs of each, the first "
    f"{_UNTIMED} not timed.",
)
NOTES_18 = (
    "18: measured as 9. The repeated job is one of 9. The other one scales a picture and adds "
    "noise, 256², from a seed; what comes before the noise is in the engine's cache.",
)


@dataclass(kw_only=True)
class Times:
    """Seconds of the timed jobs, and the nodes that ran in them, by who posted."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    ran: dict[str, set[frozenset[str] | None]] = field(default_factory=dict)

    def samples(self, name: str) -> tuple[str, Samples]:
        return name, Samples(self.seconds[name])


def rows_of_new(posters: Mapping[str, Poster]) -> list[Row]:
    """Target 9. `posters` are ours, straight, and others for context."""
    times = _timed(posters, lambda: (new_picture() for _ in itertools.count()))
    return _added(9, NEW, times)


def rows_of_repeated(posters: Mapping[str, Poster]) -> list[Row]:
    """Target 18, of the same."""
    repeated = _timed(posters, lambda: itertools.repeat(new_picture()))
    seed = _timed(posters, _seeds)
    ran = (repeated.ran[OURS], seed.ran[OURS])
    measured = "; ".join(" or ".join(map(_in_words, each)) for each in ran)
    nodes = Row(
        target=18, what=RAN, measured=measured, wanted=RAN_WANTED, met=measured == RAN_WANTED
    )
    return [*_added(18, REPEATED, repeated), *_added(18, SEED, seed), nodes]


def _seeds() -> Iterator[Graph]:
    picture = new_picture()
    return (with_seed(picture, seed) for seed in itertools.count())


def _timed(posters: Mapping[str, Poster], graphs: Callable[[], Iterator[Graph]]) -> Times:
    """All post in turn, each a block of `graphs()` at once."""
    times = Times(seconds={name: [] for name in posters}, ran={name: set() for name in posters})
    for _ in range(_BLOCKS):
        for name, post in posters.items():
            for number, graph in enumerate(itertools.islice(graphs(), _UNTIMED + _TIMED)):
                began = time.perf_counter()
                answer = post(graph)
                took = time.perf_counter() - began
                if number >= _UNTIMED:
                    times.seconds[name].append(took)
                    times.ran[name].add(answer.ran)
    return times


def _added(target: int, what: str, times: Times) -> list[Row]:
    """Ours against straight, and for context the others."""
    rows = []
    for name in times.seconds.keys() - {STRAIGHT}:
        is_ours = name == OURS
        rows.append(
            added_at_most(
                target,
                what if is_ours else f"the same, {name}'s handler",
                ours=times.samples(name),
                beside=times.samples(STRAIGHT),
                at_most_ms=AT_MOST_MS if is_ours else None,
            )
        )
    return sorted(rows, key=lambda row: row.met is None)


def _in_words(nodes: Collection[str] | None) -> str:
    return "unknown" if nodes is None else ", ".join(sorted(nodes)) or "none"
