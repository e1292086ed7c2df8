"""Finds the first difference between two images, layer by layer and file by file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from runpod_comfy.images.docker.build_progress import layer_in
from runpod_comfy.images.proof.normal_form import normal_config
from runpod_comfy.images.proof.saved_image import ImageFiles

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
    """The first difference between two images; `values` are the two values as text.

    `layer` counts from 1; it and `path` are None if only the configurations differ. `path` is also
    None if the files are equal, but the order or the headers of the tar files differ.
    """

    layer: int | None
    name: str | None
    path: str | None
    what: str
    values: tuple[str, str]

    def in_words(self) -> str:
        """The difference as text, without the names of the images."""
        values = f"{self.values[0]} against {self.values[1]}"
        if self.layer is None:
            return f"the configuration: {self.what} is {values}"
        layer = f"layer {self.layer}" + (f", '{self.name}'" if self.name else "")
        if self.path is None:
            return f"{layer}: {self.what}, {values}"
        return f"{layer}: /{self.path}: {self.what}, {values}"


def first_difference(one: ImageFiles, other: ImageFiles) -> Difference | None:
    """The first different file of the first different layer, else the first different setting; None
    if all are equal.

    Layers are compared by content, not by digest.
    """
    for index in range(min(len(one.layers), len(other.layers))):
        if found := _first_of_layer(one, other, index):
            return found
    if len(one.layers) != len(other.layers):
        count = min(len(one.layers), len(other.layers))
        values = (f"{len(one.layers)} layers", f"{len(other.layers)} layers")
        return Difference(layer=count + 1, name=None, path=None, what="is not there", values=values)
    return _first_of_config(one.config, other.config)


def first_digest_difference(one: ImageFiles, other: ImageFiles) -> Difference | None:
    """The first difference, if the digests of layers count too."""
    for index, values in enumerate(zip(one.digests, other.digests, strict=False)):
        if values[0] != values[1]:
            return _first_of_layer(one, other, index) or _in_layer(
                one, index, path=None, what="equal files in different tar files", values=values
            )
    return first_difference(one, other) if len(one.layers) != len(other.layers) else None


def _in_layer(
    image: ImageFiles, index: int, *, path: str | None, what: str, values: tuple[str, str]
) -> Difference:
    steps = [step for step in image.config.get("history") or [] if not step.get("empty_layer")]
    name = layer_in(steps[index].get("created_by", "")) if index < len(steps) else None
    return Difference(layer=index + 1, name=name, path=path, what=what, values=values)


def _first_of_layer(one: ImageFiles, other: ImageFiles, index: int) -> Difference | None:
    mine, others = one.layers[index], other.layers[index]
    for path in sorted({*mine, *others}):
        file, another = mine.get(path), others.get(path)
        if file is None or another is None:
            values = ("missing", "there") if file is None else ("there", "missing")
            return _in_layer(one, index, path=path, what="is only in one of them", values=values)
        if file != another:
            names = (field.name for field in fields(file))
            key = next(name for name in names if getattr(file, name) != getattr(another, name))
            values = (_in_words(key, getattr(file, key)), _in_words(key, getattr(another, key)))
            what = _PROPERTIES.get(key, key)
            return _in_layer(one, index, path=path, what=what, values=values)
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
