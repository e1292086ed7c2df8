"""A lock by hand: a core, two nodes, a few distributions of known sizes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from runpod_comfy.checkout import LAYER_SCRIPTS as SCRIPTS
from runpod_comfy.layers.plan import Plan, make_plan
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


def tree(digit: str) -> dict[str, Any]:
    """The fields of a tree, all of one digit."""
    return {
        "repo": f"https://example.org/{digit}",
        "commit": digit * 40,
        "tree_hash": f"tree:{digit * 40}",
    }


def distribution(name: str, *, size: int | None = 1000, **more: Any) -> Distribution:
    """A distribution with one wheel for every machine."""
    wheel = DistributionFile(
        name=f"{name}-1.0-py3-none-any.whl",
        sha256=hashlib.sha256(name.encode()).hexdigest(),
        size=size,
    )
    return Distribution(**({"name": name, "version": "1.0", "files": [wheel]} | more))


def python_lock(**changes: Any) -> PythonLock:
    fields: dict[str, Any] = {
        "version": "3.11",
        "platforms": ["linux-x86_64"],
        "torch": [
            distribution("torch", size=800),
            distribution("nvidia-cudnn", size=700),
            distribution("nvidia-cublas", size=600),
            distribution("sympy", size=6),
        ],
        "wheels": [distribution("numpy"), distribution("aiohttp")],
    }
    return PythonLock(**(fields | changes))


def small_lock(**changes: Any) -> Lock:
    fields: dict[str, Any] = {
        "lock_version": 1,
        "version_id": "small",
        "spec_digest": "sha256:" + "0" * 64,
        "comfy": LockedTree(**tree("1")),
        "custom_nodes": [LockedNode(name="b.node", **tree("2")), LockedNode(name="a", **tree("3"))],
        "python": python_lock(),
        "models": [
            LockedModel(
                name="x",
                source="https://example.org/x.safetensors",
                sha256="b" * 64,
                size=1,
                target_path="loras/x.safetensors",
                format="safetensors",
            )
        ],
        "base": Base(system_packages=["ffmpeg"]),
        "env": {},
        "comfy_args": [],
        "run_install_scripts": ["a"],
        "allow_pickle": [],
        "epoch": 1_700_000_000,
    }
    return Lock(**(fields | changes))


def plan_without_scripts(lock: Lock, folder: Path) -> Plan:
    """The plan of a lock as if all layer scripts were empty: their keys follow from it alone."""
    folder.mkdir()
    for script in SCRIPTS.iterdir():
        (folder / script.name).touch()
    return make_plan(lock, platform="linux-x86_64", scripts=folder)
