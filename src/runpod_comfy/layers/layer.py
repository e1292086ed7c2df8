"""The nouns of a plan: a layer, what goes into it, and the key that stands for its content."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from comfy_files.hashing import digest_of, sha256_of
from runpod_comfy.lock.model import LockedTree

LayerKind = Literal[
    "system", "torch", "wheels", "handler", "core", "models", "node", "install", "check"
]

_KEY_SCHEMA = "runpod-comfy layer key 1"

_FIRST_TIME_S = 315_532_800
"""1980-01-01, the first time that a ZIP archive can hold."""


@dataclass(frozen=True, kw_only=True)
class TreeInput:
    """A tree of the lock, to lie in the folder `name` below `$INPUTS`."""

    name: str
    tree: LockedTree

    @property
    def digest(self) -> str:
        return self.tree.tree_hash


@dataclass(frozen=True, kw_only=True)
class TextInput:
    """A text, to lie in the file `name` below `$INPUTS`."""

    name: str
    text: str

    @property
    def digest(self) -> str:
        return digest_of(self.text.encode())


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One step from a lock to a working version.

    `scripts` is the script to run, then the files beside it that it uses.
    `environment` holds the layer's own variables, not those of the place where it runs.
    `key` is `sha256:…` over everything that decides what the layer leaves behind.
    `after` names the earlier layers that it depends on: it looks at what they left.
    """

    name: str
    kind: LayerKind
    scripts: tuple[Path, ...]
    key: str
    inputs: tuple[TreeInput | TextInput, ...]
    environment: Mapping[str, str]
    after: tuple[str, ...] = ()

    @property
    def script(self) -> Path:
        return self.scripts[0]

    @property
    def epoch(self) -> int:
        """The layer's SOURCE_DATE_EPOCH, in seconds since 1970.

        It lies in the first half of 1980 and follows from the key: the lock's epoch moves with
        every changed node, and would move torch with it; one time for all content would let a
        browser mistake a page of one version for the same page of another.
        """
        return _FIRST_TIME_S + int(self.key.removeprefix("sha256:")[:6], 16)


def layer_key(
    kind: LayerKind,
    *,
    scripts: Sequence[Path],
    inputs: Sequence[TreeInput | TextInput],
    environment: Mapping[str, str],
    after: Sequence[str] = (),
) -> str:
    """The key of a layer; `after` are the keys of earlier layers that its content depends on."""
    projection = {
        "schema": _KEY_SCHEMA,
        "kind": kind,
        "scripts": [[script.name, sha256_of(script)] for script in scripts],
        "inputs": [[each.name, each.digest] for each in inputs],
        "environment": sorted(environment.items()),
        "after": list(after),
    }
    text = json.dumps(projection, separators=(",", ":"))
    return digest_of(text.encode())
