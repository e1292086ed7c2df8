"""The graphs of jobs that are timed, and the answers to them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Graph = Mapping[str, Any]

# Odd, so that a colour comes again only after all others.
_STEP = 4_999_999
_COLORS = 1 << 24
_numbers = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`images` are in base64. `ran` are the nodes that ran, None where the answer does not say."""

    images: Sequence[str]
    ran: frozenset[str] | None


def new_picture() -> Graph:
    """A picture of 512², in a colour that no other graph has."""
    size = {"width": 512, "height": 512, "batch_size": 1}
    color = next(_numbers) * _STEP % _COLORS
    return {"1": _node("EmptyImage", **size, color=color), "2": _save("1")}


def with_seed(picture: Graph, seed: int) -> Graph:
    """The picture of node 1 in `picture`, smaller and with noise: nodes 4 and 5 run again for
    another seed.
    """
    size = {"width": 256, "height": 256, "crop": "disabled"}
    return {
        "1": picture["1"],
        "3": _node("ImageScale", image=["1", 0], upscale_method="bilinear", **size),
        "4": _node("ImageAddNoise", image=["3", 0], seed=seed, strength=0.01),
        "5": _save("4"),
    }


def _save(source: str) -> Mapping[str, Any]:
    return _node("SaveImage", images=[source, 0], filename_prefix="x")


def _node(class_type: str, **inputs: Any) -> Mapping[str, Any]:
    return {"class_type": class_type, "inputs": inputs}
