"""The distributions of the last lock, where nothing that decides them has changed since."""

from __future__ import annotations

from collections.abc import Sequence

from packaging.version import Version

from runpod_comfy.lock.model import Lock, PythonLock
from runpod_comfy.lock.python.pins import DEFAULT_PLATFORMS, DEFAULT_PYTHON
from runpod_comfy.lock.python.torch_family import cuda_of
from runpod_comfy.lock.trees import PinnedTree
from runpod_comfy.lock.upgrade import Upgrade
from runpod_comfy.spec.model import Options, Spec


def unchanged_python(
    spec: Spec,
    core: PinnedTree,
    nodes: Sequence[PinnedTree],
    previous: Lock | None,
    upgrade: Upgrade,
) -> PythonLock | None:
    """The Python part of `previous` if trees and options are those it was made for, else None.

    Nobody is asked then: an index that has lost or withdrawn a release changes no lock, and a new
    model or variable in the spec needs no index (docs/decisions/008-kept-pins.md).
    """
    if previous is None or upgrade.everything or upgrade.distributions:
        return None
    trees = [
        (node.name, pinned.fetched.tree_hash)
        for node, pinned in zip(spec.custom_nodes, nodes, strict=True)
    ]
    known_trees = [(node.name, node.tree_hash) for node in previous.custom_nodes]
    same_trees = trees == known_trees and core.fetched.tree_hash == previous.comfy.tree_hash
    if not same_trees or not _answers(previous.python, spec.options):
        return None
    # A lock of an earlier program does not tell it.
    return previous.python.model_copy(update={"cuda": cuda_of(previous.python.torch)})


def _answers(python: PythonLock, options: Options) -> bool:
    """Whether distributions that were pinned before are what these options ask for."""
    asked = (
        options.python or DEFAULT_PYTHON,
        list(options.platforms or DEFAULT_PLATFORMS),
        options.torch.index,
        options.as_of,
        options.constraints,
        options.overrides,
    )
    pinned = (
        python.version,
        python.platforms,
        python.torch_index,
        python.as_of,
        python.constraints,
        python.overrides,
    )
    wanted = options.torch.version
    torch = [Version(item.version).public for item in python.torch if item.name == "torch"]
    return asked == pinned and (
        wanted is None
        or all(version == wanted or version.startswith(f"{wanted}.") for version in torch)
    )
