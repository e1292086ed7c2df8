"""Locks by hand: of made-up pins, or of folders and files that a test has written."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from comfy_files.files import sha256_of
from comfy_home.lock_bytes import LOCK_VERSION
from comfy_home.tree_hash import tree_hash
from runpod_comfy.lock.model import (
    Base,
    Distribution,
    DistributionFile,
    Lock,
    LockedModel,
    LockedNode,
    LockedTree,
    PythonLock,
)
from tests.package_index import make_wheel


def tree(digit: str, **changes: Any) -> dict[str, Any]:
    """The fields of a tree, all of one digit."""
    fields = {"repo": f"https://example.org/{digit}", "commit": digit * 40}
    return fields | {"tree_hash": f"tree:{digit * 40}"} | changes


def node(name: str, digit: str) -> LockedNode:
    return LockedNode(name=name, **tree(digit))


def distribution(
    name: str, version: str = "1.0", *, size: int | None = 1000, **changes: Any
) -> Distribution:
    """A distribution with one wheel for every machine."""
    wheel = DistributionFile(
        name=f"{name}-{version}-py3-none-any.whl",
        sha256=hashlib.sha256(name.encode()).hexdigest(),
        size=size,
    )
    return Distribution(**({"name": name, "version": version, "files": [wheel]} | changes))


def model(target_path: str, *, source: str = "x", **changes: Any) -> LockedModel:
    """A model file of one byte, at `source` or at the `sources` in `changes`."""
    fields = {"name": "x", "sha256": "b" * 64, "size": 1, "format": "other"}
    fields |= {"sources": [{"url": source}]}
    return LockedModel.model_validate(fields | {"target_path": target_path} | changes)


def python_lock(**changes: Any) -> PythonLock:
    """The torch family and two more, of known sizes."""
    torch = {"torch": 800, "nvidia-cudnn": 700, "nvidia-cublas": 600, "sympy": 6}
    fields = {
        "version": "3.11",
        "platforms": ["linux-x86_64"],
        "torch": [distribution(name, size=size) for name, size in torch.items()],
        "wheels": [distribution("numpy"), distribution("aiohttp")],
    }
    return PythonLock(**(fields | changes))


def bare_lock(**changes: Any) -> Lock:
    """A core alone; `changes` are fields of the lock, as models or as JSON has them."""
    fields = {
        "lock_version": LOCK_VERSION,
        "version_id": "small",
        "spec_digest": "sha256:" + "0" * 64,
        "comfy": tree("1"),
        "python": python_lock(torch=[], wheels=[]),
        "epoch": 315_532_800,
    }
    return Lock.model_validate(fields | changes)


def small_lock(**changes: Any) -> Lock:
    """One of everything: a core, two nodes of which one has a script, packages, a model."""
    fields = {
        "custom_nodes": [node("b.node", "2"), node("a", "3")],
        "python": python_lock(),
        "models": [model("loras/x.safetensors", format="safetensors")],
        "base": Base(system_packages=["ffmpeg"]),
        "run_install_scripts": ["a"],
        "epoch": 1_700_000_000,
    }
    return bare_lock(**(fields | changes))


def locked_tree(folder: Path) -> LockedTree:
    """A folder that the spec names by its name alone."""
    found = tree_hash(folder)
    return LockedTree(repo=folder.name, commit=found, tree_hash=found)


def locked_node(folder: Path) -> LockedNode:
    return LockedNode(name=folder.name, **dict(locked_tree(folder)))


def locked_file(path: Path) -> DistributionFile:
    return DistributionFile(name=path.name, sha256=sha256_of(path), size=path.stat().st_size)


def locked_wheels(folder: Path, name: str, version: str, *tags: str) -> Distribution:
    """Makes a wheel for each tag in `folder`."""
    wheels = [make_wheel(folder, name, version, tag=tag) for tag in tags or ("py3-none-any",)]
    files = [locked_file(wheel) for wheel in wheels]
    return Distribution(name=name, version=version, files=files)


def locked_model(path: Path, target_path: str) -> LockedModel:
    """A model file that the spec names by its name alone."""
    return model(
        target_path,
        name=path.name,
        source=path.name,
        sha256=sha256_of(path),
        size=path.stat().st_size,
    )


def in_version_1(document: dict[str, Any]) -> dict[str, Any]:
    """A lock's document as earlier programs wrote it."""
    return {
        **document,
        "lock_version": 1,
        "models": [model_in_version_1(each) for each in document["models"]],
    }


def model_in_version_1(model: dict[str, Any]) -> dict[str, Any]:
    """A model of a lock or manifest as earlier programs wrote it."""
    rest = {key: value for key, value in model.items() if key != "sources"}
    first, *others = model["sources"]
    commit = (first.get("pin") or {}).get("commit")
    earlier = {"source": first["url"], "mirrors": [each["url"] for each in others]}
    return {**rest, **earlier, "revision": commit}
