"""Proof that a version's image is reproducible: builds it twice, on every given engine.

On one engine the digests of all layers must be equal. Engines write tar headers differently, so
between engines every file of every layer is compared instead. The first difference is named.
"""

from __future__ import annotations

import contextlib
import io
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Protocol

import docker
from docker.errors import APIError

from comfy_errors import MismatchError
from comfy_files.progress import Say
from runpod_comfy.images.docker.build_progress import layer_in
from runpod_comfy.images.docker.local_images import inspect_image, saved_chunks
from runpod_comfy.images.proof.normalize import normal_config
from runpod_comfy.images.proof.saved_image import ChunkStream, ImageFiles, read_image

_PROPERTIES = {
    "mtime": "time",
    "sha256": "content",
    "target": "link target",
    "first_name": "first name of the same file",
    "number": "device number",
    "xattrs": "extended attributes",
}
_BUILDS = 2
# Times in layers are whole seconds, and a small image is built in less.
_APART_S = 2.0
_READ_BYTES = 1 << 20


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


class Build(Protocol):
    """Builds the image on an engine, gives it the tag, and returns its id."""

    def __call__(self, client: docker.DockerClient, *, no_cache: bool, tag: str) -> str: ...


@dataclass(frozen=True, kw_only=True)
class NamedEngine:
    """An engine, and what to call it."""

    name: str
    client: docker.DockerClient


@dataclass(frozen=True, kw_only=True)
class EngineProof:
    """The results of one engine: the id of each build, and `layers`, the digests, equal for all
    builds.
    """

    engine: str
    version: str
    image_ids: tuple[str, ...]
    layers: tuple[str, ...]


class ImageDiffersError(MismatchError):
    """Two builds of one lock differ; `difference` is the first difference."""

    def __init__(self, message: str, difference: Difference) -> None:
        super().__init__(
            f"{message}: {difference.in_words()}",
            remedy="Find what writes that file: a layer must produce equal bytes, owners, modes "
            "and times each time.",
        )
        self.difference = difference


def verify_image(
    engines: Sequence[NamedEngine], build: Build, *, repository: str, say: Say
) -> list[EngineProof]:
    """Builds the image twice without a cache on each engine, and compares.

    The images are temporarily tagged `<repository>:verify-<n>`, and removed at the end. Raises
    ImageDiffersError naming the first different file, and what the builds raise.
    """
    tags = [f"{repository}:verify-{number}" for number in range(1, _BUILDS + 1)]
    try:
        proofs = [_built_twice(engine, build, tags, say) for engine in engines]
        _compare_engines(engines, proofs, tags[0], say)
    finally:
        for engine in engines:
            for tag in tags:
                with contextlib.suppress(APIError):
                    engine.client.images.remove(tag)
    return proofs


def saved_files(client: docker.DockerClient, reference: str) -> ImageFiles:
    """Every file of an image, streamed from the engine."""
    chunks = saved_chunks(client, reference)
    return read_image(io.BufferedReader(ChunkStream(chunks), _READ_BYTES))


def _built_twice(engine: NamedEngine, build: Build, tags: Sequence[str], say: Say) -> EngineProof:
    version: str = engine.client.version()["Version"]
    ids, layers = [], []
    for number, tag in enumerate(tags, start=1):
        if number > 1:
            time.sleep(_APART_S)
        say(f"Build {number} of {len(tags)} on {engine.name} (Engine {version}), without a cache")
        ids.append(build(engine.client, no_cache=True, tag=tag))
        layers.append(tuple(inspect_image(engine.client, tag)["RootFS"]["Layers"]))
        if layers[-1] != layers[0]:
            say("The layers differ: looking for the first file")
            one, other = (saved_files(engine.client, each) for each in (tags[0], tag))
            difference = first_digest_difference(one, other)
            assert difference is not None
            raise ImageDiffersError(f"two builds on {engine.name} differ", difference)
    say(f"{engine.name}: {len(layers[0])} layers with equal digests in all builds")
    return EngineProof(engine=engine.name, version=version, image_ids=tuple(ids), layers=layers[0])


def _compare_engines(
    engines: Sequence[NamedEngine], proofs: Sequence[EngineProof], tag: str, say: Say
) -> None:
    if len(engines) < _BUILDS:
        return
    say(f"Comparing the files of {engines[0].name} with those of the others")
    first = saved_files(engines[0].client, tag)
    for engine, proof in zip(engines[1:], proofs[1:], strict=True):
        difference = first_difference(first, saved_files(engine.client, tag))
        between = f"{proofs[0].engine} and {proof.engine}"
        if difference is not None:
            raise ImageDiffersError(f"the images of {between} differ", difference)
        files = sum(map(len, first.layers))
        same = sum(one == other for one, other in zip(proofs[0].layers, proof.layers, strict=True))
        say(
            f"{between}: all {files} files of {len(first.layers)} layers are equal ({same} "
            "layers also have equal digests)"
        )
