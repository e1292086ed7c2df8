"""A lock as an image: recipe, context, build. The main path, from top to bottom."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import docker

from runpod_comfy.images.bases import BaseImage
from runpod_comfy.images.names import DEFAULT_REPOSITORY, split_reference
from runpod_comfy.images.progress import BuildShow
from runpod_comfy.images.pull import ensure_image
from runpod_comfy.images.recipe import make_recipe, write_recipe
from runpod_comfy.images.solve import BuildOutcome, solve
from runpod_comfy.lock.model import Lock
from runpod_comfy.sources.cache_use import using
from runpod_comfy.sources.tree import Surroundings

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


@dataclass(frozen=True, kw_only=True)
class ImageJob:
    """A lock, what its image stands on, and what surrounds the build.

    `platform` is one of the lock's. `workflows` are files to bake in. `network` is the network
    mode of the build's steps, None for the engine's own; `ca_bundle` a file of certificates that
    they trust.
    """

    lock: Lock
    base: BaseImage
    platform: str
    surroundings: Surroundings
    workflows: Sequence[Path] = ()
    ca_bundle: Path | None = None
    network: str | None = None


def build_image(
    job: ImageJob,
    client: docker.DockerClient,
    *,
    tags: Sequence[str],
    show: BuildShow,
    no_cache: bool = False,
) -> BuildOutcome:
    """Builds the image and gives it `tags`.

    Raises a ComfyError: what the sources and package indexes raise, and BuildFailedError with the
    end of what the failing layer said.
    """
    recipe = make_recipe(job.lock, job.base, platform=job.platform)
    surroundings = job.surroundings
    with using(surroundings.cache, surroundings.say), surroundings.cache.writing():
        ensure_image(client, job.base.reference, platform=recipe.engine_platform, show=show)
        surroundings.cache.tmp.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=surroundings.cache.tmp) as context:
            write_recipe(
                recipe, context, surroundings, workflows=job.workflows, ca_bundle=job.ca_bundle
            )
            context.seek(0)
            return solve(
                client,
                context,
                tags=tags,
                platform=recipe.engine_platform,
                no_cache=no_cache,
                network=job.network,
                build_args=proxies(os.environ),
                labels={},
                show=show,
            )


def image_tags(
    lock: Lock, *, repository: str = DEFAULT_REPOSITORY, tag: str | None = None
) -> list[str]:
    """`<repository>:<id>`, or `tag` in its place, and `<repository>:<id>-<lock digest 12>`."""
    digest = lock.digest.removeprefix("sha256:")[:12]
    if tag is None:
        tag = f"{repository}:{lock.version_id}"
    else:
        repository, _ = split_reference(tag)
    return [tag, f"{repository}:{lock.version_id}-{digest}"]


def proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """Build arguments that every engine knows and notes nowhere in the image."""
    return {name: environment[name] for name in _PROXIES if environment.get(name)}
