"""The first thing that differs between two images, layer by layer and file by file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from runpod_comfy.images.proof.layer_files import LayerFile
from runpod_comfy.images.proof.normal_config import normal_config
from runpod_comfy.images.proof.saved_image import ImageFiles

_LAYER = re.compile(r"""\bLAYER=(?:"([^"]*)"|'([^']*)'|(\S+))""")
_PROPERTIES = {
    "mtime": "time",
    "sha256": "content",
    "target": "link target",
    "first_name": "first name of the same file",
    "number": "device number",
    "xattrs": "extended attributes",
}


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Where two images differ first, and in what; the values are those of the two, as text.

    `layer` counts from 1; it is None, and so is `path`, where only the configurations differ.
    `path` is also None where no file differs, but the order or the headers of the tar files do.
    """

    layer: int | None
    name: str | None
    path: str | None
    what: str
    values: tuple[str, str]

    def in_words(self) -> str:
        """Without a name for the two."""
        values = f"{self.values[0]} against {self.values[1]}"
        if self.layer is None:
            return f"the configuration: {self.what} is {values}"
        layer = f"layer {self.layer}" + (f", '{self.name}'" if self.name else "")
        if self.path is None:
            return f"{layer}: {self.what}, {values}"
        return f"{layer}: /{self.path}: {self.what}, {values}"


def first_difference(one: ImageFiles, other: ImageFiles) -> Difference | None:
    """The first file of the first layer that differs, else the first setting; None if all is equal.

    Layers are compared by what is in them, whatever their digests.
    """
    names = layer_names(one.config)
    for index, (mine, others) in enumerate(zip(one.layers, other.layers, strict=False)):
        name = names[index] if index < len(names) else None
        if found := _first_of_layer(mine, others):
            path, what, values = found
            return Difference(layer=index + 1, name=name, path=path, what=what, values=values)
    if len(one.layers) != len(other.layers):
        count = min(len(one.layers), len(other.layers))
        values = (f"{len(one.layers)} layers", f"{len(other.layers)} layers")
        return Difference(layer=count + 1, name=None, path=None, what="is not there", values=values)
    return _first_of_config(one.config, other.config)


def first_digest_difference(one: ImageFiles, other: ImageFiles) -> Difference | None:
    """The same, where the digests of layers count as well."""
    for index, (mine, others) in enumerate(zip(one.digests, other.digests, strict=False)):
        if mine == others:
            continue
        found = _first_of_layer(one.layers[index], other.layers[index])
        names = layer_names(one.config)
        path, what, values = found or (None, "the same files, packed differently", (mine, others))
        name = names[index] if index < len(names) else None
        return Difference(layer=index + 1, name=name, path=path, what=what, values=values)
    return first_difference(one, other) if len(one.layers) != len(other.layers) else None


def layer_names(config: Mapping[str, Any]) -> list[str | None]:
    """The name of each layer, lowest first, where the step that made it tells one."""
    steps = [step for step in config.get("history") or [] if not step.get("empty_layer")]
    return [layer_name(step.get("created_by", "")) for step in steps]


def layer_name(step: str) -> str | None:
    """The layer that a step of an image's history made: what it sets `LAYER` to."""
    found = _LAYER.search(step)
    return next((name for name in found.groups() if name is not None), None) if found else None


def _first_of_layer(
    mine: Mapping[str, LayerFile], others: Mapping[str, LayerFile]
) -> tuple[str, str, tuple[str, str]] | None:
    for path in sorted({*mine, *others}):
        one, other = mine.get(path), others.get(path)
        if one is None or other is None:
            there, missing = ("there", "missing") if other is None else ("missing", "there")
            return path, "is only in one of them", (there, missing)
        for key, value, other_value in one.differences(other):
            values = (_in_words(key, value), _in_words(key, other_value))
            return path, _PROPERTIES.get(key, key), values
    return None


def _first_of_config(one: Mapping[str, Any], other: Mapping[str, Any]) -> Difference | None:
    mine, others = (json.loads(normal_config(config, [])) for config in (one, other))
    for key in sorted({*mine, *others}):
        if mine.get(key) != others.get(key):
            values = (json.dumps(mine.get(key)), json.dumps(others.get(key)))
            return Difference(layer=None, name=None, path=None, what=key, values=values)
    return None


def _in_words(key: str, value: Any) -> str:
    if value is None:
        return "none"
    if key == "mode":
        return f"{value:04o}"
    if key == "mtime":
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    if key == "size":
        return f"{value} bytes"
    return str(value)
