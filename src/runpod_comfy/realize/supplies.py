"""All that a realization needs, brought into the caches at the same time.

The home is not touched meanwhile: what cannot be had is told before anything is made there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runpod_comfy.layers.layer import Layer
from runpod_comfy.lock.model import LockedModel
from runpod_comfy.realize.build import Workshop
from runpod_comfy.realize.environment import make_environment
from runpod_comfy.realize.models import ModelPlaces, bring_models
from runpod_comfy.realize.pending import ENVIRONMENT
from runpod_comfy.realize.trees import fetch_trees
from runpod_comfy.sources.at_once import at_once
from runpod_comfy.sources.tree import Surroundings


@dataclass(frozen=True, kw_only=True)
class Supplies:
    """`trees` are folders with bytecode, by the tree's hash; `made` are the seconds that each
    layer of the environment took, where it had to be made."""

    trees: Mapping[str, Path]
    made: Mapping[str, float]


def bring_supplies(
    pending: Sequence[Layer],
    models: Sequence[LockedModel],
    *,
    places: ModelPlaces,
    surroundings: Surroundings,
    workshop: Workshop,
) -> Supplies:
    """Fetches trees and compiles them, makes the environment, and brings models, all at once.

    The first error ends the rest, and is the one that is raised: see the three for which.
    """
    trees: dict[str, Path] = {}
    made: dict[str, float] = {}
    environment = [layer for layer in pending if layer.kind in ENVIRONMENT]
    parts: list[Callable[[], object]] = [
        lambda: bring_models(
            models,
            places,
            base_dir=surroundings.base_dir,
            say=surroundings.say,
            progress=workshop.progress,
        ),
        lambda: trees.update(
            fetch_trees(
                pending,
                surroundings,
                python_version=workshop.python.version,
                progress=workshop.progress,
                keep_open=workshop.lock_fds,
            )
        ),
        lambda: made.update(make_environment(environment, workshop)),
    ]
    at_once(lambda part: part(), parts, give_up=True)
    return Supplies(trees=trees, made=made)
