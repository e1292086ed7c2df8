"""COMFY_LOCKED=strict: a worker runs the nodes and models of its lock, and no others.

Compared with the lock are the nodes in the home, byte by byte, and the model files that ComfyUI
would find. ComfyUI itself and the Python environment are not read again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from comfy_errors import ComfyError, InvalidInputError, MismatchError, UnavailableError
from comfy_errors.names import listed
from comfy_files.files import sha256_of
from comfy_files.json_file import read_object
from comfy_files.parallel import HASHING_THREADS, in_parallel
from comfy_files.user_paths import expanded
from comfy_home.layout import IMPORTABLE
from comfy_home.lock_bytes import names_lock
from comfy_home.manifest import ChangedFile, ManifestModel
from comfy_home.tree_hash import tree_hash
from comfy_models.verify import MEMORY_NAME, HashMemory, fault_of
from comfy_workflows.model_files import MODEL_SUFFIXES
from rp_handler.home.realized import Home

LOCKED = "COMFY_LOCKED"
# Where an image has its lock.
_LOCK_NAME = "lock.json"
_NODE_MODELS = "node_models"
_MOST_SHOWN = 5


def require_locked(home: Home, lock_path: str | None, memory_files: Sequence[Path] = ()) -> Home:
    """`home`, known to have the nodes of its lock, and no model file that is not in it.

    The lock is the image's own, else the one at `lock_path`. `memory_files` hold hashes of models.
    Raises MismatchError, UnavailableError without a lock, and InvalidInputError for another one.
    """
    _require_nodes(home, _lock_of(home, lock_path))
    _require_models(home, memory_files)
    return replace(home, is_locked=True)


def _require_nodes(home: Home, lock: Mapping[str, Any]) -> None:
    trees = {str(node["name"]): str(node["tree_hash"]) for node in lock.get("custom_nodes", [])}
    known = trees.keys() | home.nodes_of_core()
    there = [path.name for path in home.importable_nodes()]
    faults = [f"{name} is not in the lock" for name in there if name not in known]
    for name, expected in trees.items():
        folder = home.custom_nodes / name
        if not folder.is_dir():
            faults.append(f"{name} is missing")
            continue
        found = tree_hash(folder, without=_known_additions(home, name))
        if found != expected:
            faults.append(f"{name} is {found}, and {expected} in the lock")
    if faults:
        raise _refusal(f"The nodes in {home.custom_nodes}", sorted(faults))


def _require_models(home: Home, memory_files: Sequence[Path]) -> None:
    """Of the models that are in the lock, the bytes are compared too."""
    locked = {model.target_path: model for model in home.manifest.models}
    roots = [root for root in home.model_folders().roots if root != home.shipped_models]
    memory = HashMemory([*memory_files, *(root / MEMORY_NAME for root in roots)])
    found = _model_files(roots)
    known = [(path, locked[place]) for place, path in found if place in locked]

    def fault(each: tuple[Path, ManifestModel]) -> str | None:
        path, model = each
        reason = fault_of(path, model, memory)
        return f"{path} {reason}" if reason else None

    faults = [it for it in in_parallel(fault, known, threads=HASHING_THREADS) if it]
    memory.save()
    faults += [f"{path} is not in the lock" for place, path in found if place not in locked]
    if faults:
        raise _refusal("The model files", sorted(faults))


def _refusal(sentence: str, faults: list[str]) -> ComfyError:
    return MismatchError(
        f"{sentence} are not those of the lock: {listed(faults, at_most=_MOST_SHOWN)}.",
        remedy=f"Put back what the lock has, or unset {LOCKED}.",
    )


def _lock_of(home: Home, lock_path: str | None) -> dict[str, Any]:
    own = home.root / _LOCK_NAME
    if not own.is_file() and not lock_path:
        raise UnavailableError(
            f"{LOCKED} is strict, and there is no lock to compare {home.root} with.",
            remedy="Name the lock in LOCK_PATH.",
        )
    path = own if own.is_file() else expanded(str(lock_path))
    lock = read_object(path, "lock", remedy=f"Name the lock of {home.root} in LOCK_PATH.")
    if not names_lock(home.manifest.lock_digest, lock):
        raise InvalidInputError(
            f"{path} is not the lock that {home.root} was made from.",
            remedy="Name that one in LOCK_PATH.",
        )
    return lock


def _known_additions(home: Home, node: str) -> set[Path]:
    """What was added to the folder of a node when its home was made: links to models, and what its
    install script and the start of the check wrote.
    """
    folder, models = home.custom_nodes / node, f"{_NODE_MODELS}/{node}/"
    links = {
        folder / model.target_path.removeprefix(models)
        for model in home.manifest.models
        if model.target_path.startswith(models)
    }
    check, added = home.manifest.check, {path for path in links if path.is_symlink()}
    for each in [*(check.changed if check else []), *_installed(home, node)]:
        path = home.root / each.path
        if each.change == "added" and _is_as_recorded(path, each.sha256):
            added.add(path)
    return added


def _is_as_recorded(path: Path, sha256: str | None) -> bool:
    """Other files than those that Python imports may have changed since."""
    if path.suffix not in IMPORTABLE:
        return True
    return path.is_file() and sha256_of(path) == sha256


def _installed(home: Home, node: str) -> list[ChangedFile]:
    """What the install script of a node changed in its folder."""
    folder = home.custom_nodes.relative_to(home.root) / node
    try:
        record = json.loads((home.install_records / f"{node}.json").read_bytes())
        return [
            ChangedFile.model_validate({**file, "path": f"{folder}/{file['path']}"})
            for file in record["files"]["node"]
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _model_files(roots: Iterable[Path]) -> list[tuple[str, Path]]:
    """Each model file that ComfyUI may find: its path below its models folder, and the file."""
    found: dict[tuple[str, str], tuple[str, Path]] = {}
    for root in roots:
        # The engine follows links as well; this does not go round in circles.
        seen: set[str] = set()
        for parent, folders, names in os.walk(root, followlinks=True):
            seen.add(os.path.realpath(parent))
            paths = [Path(parent, name) for name in folders]
            folders[:] = [it.name for it in paths if os.path.realpath(it) not in seen]
            for path in (Path(parent, name) for name in names):
                if path.suffix.lower() in MODEL_SUFFIXES:
                    place = path.relative_to(root).as_posix()
                    found.setdefault((place, os.path.realpath(path)), (place, path))
    return list(found.values())
