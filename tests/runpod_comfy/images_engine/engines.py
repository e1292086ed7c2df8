"""The engine of this machine, and those that VERIFY_ENGINES names, with one base on all of them."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import docker

from runpod_comfy.images.docker.connection import connect
from runpod_comfy.images.dockerfile import BASE_NAME
from runpod_comfy.images.proof.verify import NamedEngine
from tests.runpod_comfy.images.saved_archives import Member, layer
from tests.runpod_comfy.images_engine.builds import build
from tests.runpod_comfy.images_engine.small_image import base_tar, context

OTHERS = os.environ.get("VERIFY_ENGINES", "").split()
"""Addresses of more engines, separated by spaces."""


# What the runtime would leave marks of, where a base does not have it.
_STUBS = ("/dev/.keep", "/proc/.keep", "/sys/.keep", "/etc/hosts", "/etc/resolv.conf")


@dataclass(kw_only=True)
class BuildPlan:
    """A Dockerfile after `FROM`, and a layer's files for its `ADD`; builds with `build`."""

    base: str
    dockerfile: str
    added: Sequence[Member] = ()

    def build(self, client: docker.DockerClient, *, no_cache: bool, tag: str) -> str:
        text = f"FROM {self.base}\n{self.dockerfile}\nLABEL {BASE_NAME}={self.base}\n"
        body = context(text, {"added.tar": layer(self.added)})
        return build(client, body, tags=[tag], no_cache=no_cache).image_id


def all_engines() -> list[NamedEngine]:
    """At least the one of this machine."""
    named = [NamedEngine(name="this engine", client=connect())]
    return named + [NamedEngine(name=address, client=connect(address)) for address in OTHERS]


def import_base(engines: Sequence[NamedEngine]) -> str:
    """A base of a few programs, the same on all engines; returns its name."""
    repository, tag = "runpod-comfy-test-base", uuid.uuid4().hex[:12]
    content = base_tar(dict.fromkeys(_STUBS, b""))
    for engine in engines:
        engine.client.api.import_image_from_data(content, repository=repository, tag=tag)
        # Imported at another second, as on another day.
        time.sleep(1)
    return f"{repository}:{tag}"
