"""Pushes to real registries: open ones, one behind a login, and one that dies."""

from __future__ import annotations

import json
import os
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import docker
import pytest

from comfy_errors import InvalidInputError, OperationFailedError, UnavailableError
from runpod_comfy.images.registry.push import PushedLayer, PushShow, push, tag_image
from tests.containers import Registry, write_login
from tests.runpod_comfy.images_engine.builds import build
from tests.runpod_comfy.images_engine.small_image import base_tar, context

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


@dataclass
class Seen(PushShow):
    """What a push showed."""

    layers: list[PushedLayer] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)

    def layer(self, layer: PushedLayer) -> None:
        self.layers.append(layer)

    def under_way(self, sentence: str) -> None:
        self.sentences.append(sentence)


def _built(engine: docker.DockerClient, base: str, reference: str, *, node: str = "") -> list[str]:
    """Builds an image with one layer on the base; gives the digests of its layers."""
    dockerfile = f"FROM {base}\nRUN LAYER=node:a sh -c 'echo {node} > /node'\n"
    build(engine, context(dockerfile), tags=[reference])
    layers: list[str] = engine.images.get(reference).attrs["RootFS"]["Layers"]
    return layers


def test_a_pushed_image_is_in_the_registry_by_the_digest_that_is_reported(
    engine: docker.DockerClient, base: str, name: str, registry: Registry
) -> None:
    reference = f"{registry.address}/me/{name}:1"
    layers = _built(engine, base, reference)
    seen = Seen()

    result = push(engine, reference, show=seen)

    assert [layer.digest for layer in result.layers] == layers
    assert {layer.how for layer in result.layers} == {"pushed"}
    assert (result.layers[0].size_bytes or 0) > 1_000_000
    assert sorted(layer.digest for layer in seen.layers) == sorted(layers)
    assert result.pinned == f"{registry.address}/me/{name}@{result.digest}"
    request = urllib.request.Request(
        f"http://{registry.address}/v2/me/{name}/manifests/{result.digest}",
        headers={"Accept": _MANIFEST},
    )
    with urllib.request.urlopen(request) as answer:
        assert len(json.load(answer)["layers"]) == len(layers)


def test_only_the_layer_that_changed_is_sent_again(
    engine: docker.DockerClient, base: str, name: str, registry: Registry
) -> None:
    first, second = (f"{registry.address}/me/{name}:{tag}" for tag in ("1", "2"))
    _built(engine, base, first, node="before")
    push(engine, first, show=Seen())
    layers = _built(engine, base, second, node="after")

    result = push(engine, second, show=Seen())

    assert [(layer.digest, layer.how) for layer in result.layers] == [
        (layers[0], "existing"),
        (layers[1], "pushed"),
    ]


def test_what_another_repository_of_the_registry_has_is_mounted(
    engine: docker.DockerClient, base: str, name: str, registry: Registry
) -> None:
    first, second = (f"{registry.address}/{who}/{name}:1" for who in ("me", "you"))
    _built(engine, base, first)
    push(engine, first, show=Seen())
    tag_image(engine, first, second)

    result = push(engine, second, show=Seen())

    assert {layer.how for layer in result.layers} == {"mounted"}


def test_a_registry_that_wants_a_login_gets_that_of_the_person(
    engine: docker.DockerClient,
    base: str,
    name: str,
    private_registry: Registry,
    docker_config: Path,
) -> None:
    reference = f"{private_registry.address}/me/{name}:1"
    _built(engine, base, reference)
    write_login(docker_config, private_registry)

    assert push(docker.from_env(), reference, show=Seen()).digest.startswith("sha256:")


@pytest.mark.parametrize("password", [None, "a wrong one"])
def test_a_registry_that_refuses_the_login_is_a_failure_with_its_reason(
    engine: docker.DockerClient,
    base: str,
    name: str,
    private_registry: Registry,
    docker_config: Path,
    password: str | None,
) -> None:
    reference = f"{private_registry.address}/me/{name}:1"
    _built(engine, base, reference)
    if password:
        write_login(docker_config, private_registry, password=password)

    with pytest.raises(OperationFailedError) as raised:
        push(docker.from_env(), reference, show=Seen())

    assert raised.value.exit_code == 1
    assert raised.value.message.startswith(f"pushing {reference} failed: ")
    assert "no basic auth credentials" in raised.value.message or (
        "unauthorized" in raised.value.message
    )
    assert "docker login" in raised.value.remedy


def test_a_registry_that_dies_in_the_middle_is_a_failure_with_its_reason(
    engine: docker.DockerClient, name: str, registry: Registry
) -> None:
    reference = f"{registry.address}/me/{name}"
    # Random bytes do not shrink, so that the push takes long enough to be in its middle.
    large = base_tar({"/large": os.urandom(150_000_000)})
    engine.api.import_image_from_data(large, repository=reference, tag="1")

    class Killing(Seen):
        is_done = False

        def under_way(self, sentence: str) -> None:
            super().under_way(sentence)
            if " of " in sentence and not self.is_done:
                self.is_done = True
                registry.kill()

    show = Killing()
    with pytest.raises((OperationFailedError, UnavailableError)) as raised:
        push(engine, f"{reference}:1", show=show)

    assert show.layers == []
    assert "refused" in raised.value.message or "EOF" in raised.value.message
    assert "check that it is running" in raised.value.remedy


def test_an_image_that_is_not_here_has_no_other_name(
    engine: docker.DockerClient, name: str
) -> None:
    with pytest.raises(UnavailableError, match=f"no image {name}:1"):
        tag_image(engine, f"{name}:1", f"{name}:2")


def test_a_name_that_is_none_is_refused(engine: docker.DockerClient, base: str) -> None:
    with pytest.raises(InvalidInputError, match="lowercase") as raised:
        tag_image(engine, base, "127.0.0.1:5000/Me/Demo:1")

    assert raised.value.exit_code == 2
