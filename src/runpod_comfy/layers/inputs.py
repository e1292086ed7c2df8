"""The inputs of a plan from its lock: trees, fetched into the cache, and the manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from comfy_files.parallel import in_parallel
from comfy_home.manifest import CheckReport, Manifest, ManifestModel, ManifestNode
from comfy_http.redaction import without_secrets
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.layers.plan import Layer
from runpod_comfy.lock.fetch import fetch_tree, require_install_scripts
from runpod_comfy.lock.model import Lock, LockedTree
from runpod_comfy.lock.python.torch_family import cuda_on


def fetch_trees(
    layers: Sequence[Layer],
    lock: Lock,
    fetch_context: FetchContext,
    finish: Callable[[Path, LockedTree], Path] = lambda folder, _tree: folder,
) -> dict[str, Path]:
    """The folder of each tree that `layers` need, by tree hash. Fetches in parallel.

    `finish` returns the folder to use for a fetched tree. Raises what the sources raise,
    MismatchError if a tree's files differ from the lock, and InvalidInputError for a node whose
    install.py should run but does not exist.
    """

    def fetch(item: tuple[str, LockedTree]) -> Path:
        name, tree = item
        return finish(fetch_tree(name, tree, fetch_context), tree)

    wanted = [(layer.name, layer.tree) for layer in layers if layer.tree]
    folders = in_parallel(fetch, wanted)
    trees = {tree.tree_hash: folder for (_, tree), folder in zip(wanted, folders, strict=True)}
    require_install_scripts(
        {
            node.name: trees[node.tree_hash]
            for node in lock.custom_nodes
            if node.name in lock.run_install_scripts and node.tree_hash in trees
        }
    )
    return trees


def _is_here(tree: LockedTree) -> bool:
    """True for a tree of the user's own: a folder or a repository on this machine."""
    return tree.kind == "folder" or tree.repo.startswith("file:")


def manifest_of(
    lock: Lock, platform: str, *, layers: Mapping[str, str], check: CheckReport | None = None
) -> Manifest:
    """The manifest of the lock's version on `platform` (`linux-x86_64`), not marked as complete.

    `layers` are the content keys of the finished layers; `check` is the report of the check.
    """
    return Manifest(
        version_id=lock.version_id,
        lock_digest=lock.digest,
        layers=dict(layers),
        models=[
            ManifestModel(**{key: getattr(model, key) for key in ManifestModel.model_fields})
            for model in lock.models
        ],
        nodes=[
            ManifestNode(
                name=node.name,
                repo=None if _is_here(node) else without_secrets(node.repo),
                subdir=node.subdir,
                requirements_above=node.requirements_above,
            )
            for node in lock.custom_nodes
        ],
        import_needs=lock.import_needs,
        env=lock.env,
        comfy_args=lock.comfy_args,
        cuda=cuda_on(lock.python, platform),
        writable_environment=bool(lock.writable_environment),
        check=check,
    )
