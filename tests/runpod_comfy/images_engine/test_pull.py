"""Bases that the engine has, and those that come from a registry first."""

from __future__ import annotations

from pathlib import Path

import docker
import docker.errors
import pytest

from comfy_errors import UnavailableError
from runpod_comfy.images.docker.local_images import ensure_image
from runpod_comfy.images.registry.push import push, tag_image
from tests.containers import Registry, write_login
from tests.runpod_comfy.images.recorded_streams import WrittenDown
from tests.runpod_comfy.images_engine.test_push import Seen

PLATFORM = "linux/amd64"


def _only_in(registry: Registry, engine: docker.DockerClient, base: str, name: str) -> str:
    """The base in the registry by its digest, and no longer on the engine."""
    reference = f"{registry.address}/me/{name}:1"
    tag_image(engine, base, reference)
    pinned = push(docker.from_env(), reference, show=Seen()).pinned
    engine.images.remove(reference)
    return pinned


def test_a_base_that_is_here_is_not_pulled(engine: docker.DockerClient, base: str) -> None:
    show = WrittenDown()

    ensure_image(engine, base, platform=PLATFORM, show=show)

    assert show.finished_steps == []


def test_a_base_that_is_missing_is_pulled_by_tag_or_digest_and_shown(
    engine: docker.DockerClient, base: str, name: str, registry: Registry
) -> None:
    pinned = _only_in(registry, engine, base, name)
    for reference in (f"{registry.address}/me/{name}:1", pinned):
        show = WrittenDown()

        ensure_image(engine, reference, platform=PLATFORM, show=show)

        assert show.started_steps == [f"base {reference}"]
        assert [step.name for step in show.finished_steps] == [f"base {reference}"]
        engine.images.remove(reference)


def test_a_base_behind_a_login_is_pulled_with_that_of_the_person(
    engine: docker.DockerClient,
    base: str,
    name: str,
    private_registry: Registry,
    docker_config: Path,
) -> None:
    write_login(docker_config, private_registry)
    reference = _only_in(private_registry, engine, base, name)

    ensure_image(docker.from_env(), reference, platform=PLATFORM, show=WrittenDown())

    engine.images.remove(reference)


def test_without_the_login_the_reason_and_the_next_step_are_reported(
    engine: docker.DockerClient,
    base: str,
    name: str,
    private_registry: Registry,
    docker_config: Path,
) -> None:
    write_login(docker_config, private_registry)
    reference = _only_in(private_registry, engine, base, name)
    (docker_config / "config.json").unlink()

    with pytest.raises(UnavailableError, match="not on this engine, and pulling") as raised:
        ensure_image(docker.from_env(), reference, platform=PLATFORM, show=WrittenDown())

    assert raised.value.exit_code == 3
    assert "docker login" in raised.value.remedy
    assert "runpod-comfy image base" in raised.value.remedy


def test_a_base_that_no_registry_has_is_reported(
    engine: docker.DockerClient, registry: Registry
) -> None:
    with pytest.raises(UnavailableError, match="manifest unknown") as raised:
        ensure_image(engine, f"{registry.address}/nothing:1", platform=PLATFORM, show=WrittenDown())

    assert "name" in raised.value.remedy
    assert "runpod-comfy image base" in raised.value.remedy


def test_a_base_for_another_platform_alone_does_not_pass(
    engine: docker.DockerClient, base: str
) -> None:
    with pytest.raises(UnavailableError, match="is only here for linux/amd64"):
        ensure_image(engine, base, platform="linux/arm64", show=WrittenDown())
