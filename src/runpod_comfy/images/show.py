"""What an image contains, and what a build would do again after a change.

A build goes through its steps in order. From the first changed one on, every step runs. Its result
is new only if it changed itself or depends on a changed step; the others get the digest that
registries already have.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import docker
from pydantic import ValidationError

from comfy_errors import InvalidInputError
from comfy_home.layout import MARKER_NAME
from comfy_home.manifest import Manifest, NotImported
from runpod_comfy.images import image_paths
from runpod_comfy.images.docker.build_progress import layer_in
from runpod_comfy.images.docker.local_images import inspect_image, read_image_file
from runpod_comfy.images.docker.stream import engine_errors
from runpod_comfy.images.dockerfile import BASE_NAME, CUDA, LOCK, VERSION, Step, layer_keys

Fate = Literal["kept", "same", "new"]


@dataclass(frozen=True, kw_only=True)
class BuiltImage:
    """`reference` is the name used to find it, `image_id` the engine's id, and `digest` that of a
    registry, `REPOSITORY@sha256:…`, or the id if the image is in none.
    """

    reference: str
    image_id: str
    digest: str
    version_id: str
    lock_digest: str


@dataclass(frozen=True, kw_only=True)
class ListedImage:
    """An image of a version, with its names, the shortest first."""

    image_id: str
    tags: tuple[str, ...]
    version_id: str
    lock_digest: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class ShownLayer:
    """A layer of an image: `key` is None for one that is not in a plan, such as the base's."""

    name: str
    size_bytes: int
    key: str | None = None


@dataclass(frozen=True, kw_only=True)
class ShownImage:
    """An image with its layers, lowest first. `lock_digest` and `base`, the name of the image that
    it is based on, are None for an image that this program did not build. `cuda` is the CUDA
    version that its torch was built for, None without CUDA. `not_imported` are the nodes that
    failed to import in its build, where something that they need was missing.
    """

    image_id: str
    tags: tuple[str, ...]
    lock_digest: str | None
    size_bytes: int
    layers: tuple[ShownLayer, ...]
    base: str | None = None
    cuda: str | None = None
    not_imported: Mapping[str, NotImported] = field(default_factory=dict)

    @property
    def keys(self) -> dict[str, str]:
        """The keys of all layers that have one, in the order of the image."""
        return {layer.name: layer.key for layer in self.layers if layer.key}


@dataclass(frozen=True, kw_only=True)
class Redone:
    """What a build does with a step: `kept` does not run, `same` runs and gets its previous digest,
    `new` runs and is pushed.
    """

    name: str
    fate: Fate


def find_built(
    client: docker.DockerClient, reference: str, *, option: str = "--image"
) -> BuiltImage:
    """The image with that name; `option` is the command's option for another one.

    Raises UnavailableError if the engine does not have it, InvalidInputError if this program did
    not build it.
    """
    image = inspect_image(
        client,
        reference,
        remedy=f"Build it with: runpod-comfy image build ID. Or name another image with {option}.",
    )
    labels = image["Config"].get("Labels") or {}
    version_id, lock_digest = labels.get(VERSION), labels.get(LOCK)
    if not version_id or not lock_digest:
        raise InvalidInputError(
            f"{reference} was not built by runpod-comfy: it has no label {LOCK}",
            remedy="Name an image that `runpod-comfy image build` built.",
        )
    return BuiltImage(
        reference=reference,
        image_id=image["Id"],
        digest=next(iter(image.get("RepoDigests") or ()), image["Id"]),
        version_id=version_id,
        lock_digest=lock_digest,
    )


def list_images(client: docker.DockerClient) -> list[ListedImage]:
    """The images of versions that the engine has a name for, by their names."""
    with engine_errors("listing images"):
        found = client.api.images(filters={"label": [VERSION, LOCK]})
    images = [
        ListedImage(
            image_id=image["Id"],
            tags=tuple(sorted(image["RepoTags"], key=lambda tag: (len(tag), tag))),
            version_id=image["Labels"][VERSION],
            lock_digest=image["Labels"][LOCK],
            size_bytes=image["Size"],
        )
        for image in found
        if image["RepoTags"]
    ]
    return sorted(images, key=lambda image: image.tags)


def show_image(client: docker.DockerClient, reference: str) -> ShownImage:
    """The contents of an image. Raises UnavailableError if the engine does not have it."""
    inspected = inspect_image(client, reference)
    labels = inspected["Config"].get("Labels") or {}
    keys = dict(layer_keys(labels))
    with engine_errors(f"looking at the layers of {reference}"):
        history = client.images.get(reference).history()
    layers = []
    for step in reversed(history):
        name = layer_in(step["CreatedBy"])
        # Steps that only set something take no space.
        if name or step["Size"]:
            title = name or _title(step["CreatedBy"])
            key = keys.get(name) if name else None
            layers.append(ShownLayer(name=title, size_bytes=step["Size"], key=key))
    return ShownImage(
        image_id=inspected["Id"],
        tags=tuple(inspected["RepoTags"] or ()),
        lock_digest=labels.get(LOCK),
        size_bytes=inspected["Size"],
        layers=tuple(layers),
        base=labels.get(BASE_NAME),
        cuda=labels.get(CUDA),
        not_imported=not_imported_in(client, reference),
    )


def not_imported_in(client: docker.DockerClient, reference: str) -> Mapping[str, NotImported]:
    """The nodes that the manifest of an image records as not imported, by name."""
    manifest = manifest_in(client, reference)
    return manifest.not_imported if manifest is not None else {}


def manifest_in(client: docker.DockerClient, reference: str) -> Manifest | None:
    """The manifest of the home in an image; None in one of an earlier program, or of another."""
    content = read_image_file(client, reference, f"{image_paths.HOME}/{MARKER_NAME}")
    try:
        return Manifest.model_validate_json(content or b"")
    except ValidationError:
        return None


def redone_after(steps: Sequence[Step], changes: Collection[str]) -> list[Redone]:
    """What a build of these steps does again if the layers `changes` change.

    Raises InvalidInputError for an unknown layer.
    """
    layers = list(dict.fromkeys(step.layer.name for step in steps))
    for name in changes:
        if name not in layers:
            raise InvalidInputError(
                f"there is no layer '{name}'", remedy=f"Layers are: {', '.join(layers)}."
            )
    return _redone(steps, {step.name for step in steps if step.layer.name in changes})


def redone_now(steps: Sequence[Step], image: ShownImage, *, base: str) -> list[Redone]:
    """What a build of these steps on the image `base` does beyond what `image` already has."""
    keys = image.keys if image.base == base else {}
    new = {step.name for step in steps if keys.get(step.name) != step.key}
    there, wanted = list(keys), [step.name for step in steps]
    # A removed or moved step makes later ones run again, although nothing is new.
    moved = next(
        (mine for mine, others in zip(wanted, there, strict=False) if mine != others), None
    )
    return _redone(steps, new, first=moved)


def _redone(steps: Sequence[Step], new: Collection[str], first: str | None = None) -> list[Redone]:
    runs = False
    changed: set[str] = set()
    redone = []
    for step in steps:
        is_new = step.name in new or not changed.isdisjoint(step.layer.after)
        if is_new:
            changed.add(step.layer.name)
        runs = runs or is_new or step.name == first
        fate: Fate = "new" if is_new else "same" if runs else "kept"
        redone.append(Redone(name=step.name, fate=fate))
    return redone


def _title(step: str) -> str:
    """A short title for a step whose layer is not in a plan."""
    words = " ".join(step.replace("/bin/sh -c #(nop)", "").split()).removesuffix(" # buildkit")
    return (words[:40] + "…" if len(words) > 40 else words) or "imported"
