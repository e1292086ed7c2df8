"""All that a realization needs, brought into the caches at the same time.

The home is not touched meanwhile: what cannot be had is told before anything is made there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from comfy_files.parallel import in_parallel
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.layers.layer import Layer
from runpod_comfy.lock.model import LockedModel
from runpod_comfy.realize.build import LayerContext
from runpod_comfy.realize.environment.make import make_environment
from runpod_comfy.realize.prepare.models import ModelPlaces, bring_models
from runpod_comfy.realize.prepare.outdated_layers import ENVIRONMENT
from runpod_comfy.realize.prepare.trees import fetch_trees


@dataclass(frozen=True, kw_only=True)
class FetchedInputs:
    """`trees` are folders with bytecode, by the tree's hash; `made` are the seconds that each
    layer of the environment took, where it had to be made."""

    trees: Mapping[str, Path]
    made: Mapping[str, float]


def fetch_inputs(
    pending: Sequence[Layer],
    models: Sequence[LockedModel],
    *,
    places: ModelPlaces,
    fetch_context: FetchContext,
    context: LayerContext,
) -> FetchedInputs:
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
            base_dir=fetch_context.base_dir,
            say=fetch_context.say,
            progress=context.progress,
        ),
        lambda: trees.update(
            fetch_trees(
                pending,
                fetch_context,
                python_version=context.python.version,
                progress=context.progress,
                keep_open=context.lock_fds,
            )
        ),
        lambda: made.update(make_environment(environment, context)),
    ]
    in_parallel(lambda part: part(), parts, give_up=True)
    return FetchedInputs(trees=trees, made=made)
