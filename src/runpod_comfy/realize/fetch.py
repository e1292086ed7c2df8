"""All that a realization needs, brought into the caches at the same time.

The home is not touched meanwhile: what cannot be had is reported before anything is made there.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from comfy_files.atomic import place_folder
from comfy_files.hashing import sha256_of
from comfy_files.parallel import in_parallel
from runpod_comfy.cache.key_lock import key_lock
from runpod_comfy.checkout import LAYER_SCRIPTS
from runpod_comfy.layers.plan import ENVIRONMENT
from runpod_comfy.layers.trees import fetch_trees
from runpod_comfy.layers.uv import outside_variables
from runpod_comfy.lock.model import LockedTree
from runpod_comfy.realize.changes import Changes
from runpod_comfy.realize.environment.interpreter import find_interpreter
from runpod_comfy.realize.environment.kept import link_tree, make_environment
from runpod_comfy.realize.job import LayerContext, Realization
from runpod_comfy.realize.models import bring_models
from runpod_comfy.realize.script import run_script

_COMPILER = LAYER_SCRIPTS / "compile_bytecode.py"


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """`trees` are folders with bytecode, by the tree's hash; `seconds` are what each layer of the
    environment took, where it had to be made."""

    trees: Mapping[str, Path]
    seconds: Mapping[str, float]


def fetch(changes: Changes, context: LayerContext) -> Fetched:
    """Fetches trees and compiles them, makes the environment, and brings models, all at once.

    The first error ends the rest and is the one that is raised: see the three functions for which.
    """
    job = context.job
    trees: dict[str, Path] = {}
    seconds: dict[str, float] = {}
    environment = [layer for layer in changes.pending if layer.kind in ENVIRONMENT]

    def compiled(folder: Path, tree: LockedTree) -> Path:
        whole = _compiled_tree(folder, tree, job, context.lock_fds)
        job.progress.arrived("trees", count=1)
        return whole

    def fetch_and_compile() -> None:
        job.progress.expect("trees", count=sum(len(layer.trees) for layer in changes.pending))
        trees.update(fetch_trees(changes.pending, job.lock, job.fetch_context, compiled))

    parts: list[Callable[[], object]] = [
        lambda: bring_models(
            job.lock.models,
            job.places,
            base_dir=job.base_dir,
            say=job.say,
            progress=job.progress,
        ),
        fetch_and_compile,
        lambda: seconds.update(make_environment(environment, changes.packages, context)),
    ]
    in_parallel(lambda part: part(), parts, give_up=True)
    return Fetched(trees=trees, seconds=seconds)


def _compiled_tree(
    folder: Path, tree: LockedTree, job: Realization, keep_open: Sequence[int]
) -> Path:
    """The tree in `folder` with its bytecode, at `compiled/<hash>-<Python>-<compiler>/` of the
    cache: a layer script that gets it has nothing to compile, which takes longer than all else.

    Where its files cannot be shared it is `folder` itself, and the layer script compiles.
    """
    python, cache = job.lock.python.version, job.cache
    compiler = sha256_of(_COMPILER)[:8]
    entry = cache.compiled / f"{tree.tree_hash.replace(':', '-')}-{python}-{compiler}"
    if entry.is_dir():
        return entry
    with key_lock(cache, str(entry)):
        if entry.is_dir():
            return entry
        with tempfile.TemporaryDirectory(dir=cache.tmp, prefix="compile-") as scratch:
            whole = Path(scratch) / "tree"
            if not link_tree(folder, whole):
                return folder
            for parent, _folders, _files in os.walk(whole):
                Path(parent).chmod(0o755)
            log = cache.tmp / f"{entry.name}.log"
            run_script(
                [str(find_interpreter(python)), "-B", "-I", str(_COMPILER), str(whole)],
                title=f"compiling {folder.name}",
                environment=outside_variables(),
                log=log,
                keep_open=keep_open,
            )
            log.unlink()
            place_folder(whole, entry)
    return entry
