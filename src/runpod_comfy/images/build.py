"""A lock as an image: plan, context, build. The main path, from top to bottom."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import docker

from comfy_files.progress import readable_size, when_slow
from comfy_files.space import require_room
from runpod_comfy.cache.paths import MORE_ROOM, Cache
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.images.base.catalogue import BaseImage
from runpod_comfy.images.context.inputs import gather_inputs, write_context
from runpod_comfy.images.docker.build_progress import BuildShow
from runpod_comfy.images.docker.buildkit import BuildFailedError, BuildOutcome, run_build
from runpod_comfy.images.docker.local_images import ensure_image, inspect_image
from runpod_comfy.images.dockerfile import BASE_DIGEST
from runpod_comfy.images.plan import make_build_plan
from runpod_comfy.images.registry.names import DEFAULT_REPOSITORY, split_reference
from runpod_comfy.images.show import not_imported_in
from runpod_comfy.lock.model import Lock
from runpod_comfy.sources.index.pip_settings import read_pip_settings

_LARGE_BYTES = 20_000_000
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


@dataclass(frozen=True, kw_only=True)
class ImageJob:
    """A lock, the base of its image, and the settings of the build.

    `platform` is one of the lock's. `workflows` are files to bake in. `network` is the network
    mode of the build's steps, None for the engine's own; `ca_bundle` a file of certificates that
    they trust.
    """

    lock: Lock
    base: BaseImage
    platform: str
    fetch_context: FetchContext
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
    """Builds the image and tags it with `tags`.

    Raises a ComfyError: what the sources and package indexes raise, and BuildFailedError with the
    end of what the failing layer said.
    """
    build_plan = make_build_plan(job.lock, job.base, platform=job.platform)
    cache = job.fetch_context.cache
    with cache.using(job.fetch_context.say):
        ensure_image(client, job.base.reference, platform=build_plan.engine_platform, show=show)
        build_inputs = gather_inputs(
            build_plan,
            job.fetch_context,
            workflows=job.workflows,
            ca_bundle=job.ca_bundle,
            has_network=job.network != "none",
        )
        say = job.fetch_context.say
        require_room(
            [(cache.tmp, build_inputs.size_bytes)],
            remedy=MORE_ROOM,
        )
        with _scratch_file(cache) as context:
            with cache.writing(), when_slow(say, "Writing the build context"):
                write_context(
                    context,
                    dockerfile=build_plan.text,
                    steps=build_plan.steps,
                    build_inputs=build_inputs,
                )
                size_bytes = context.tell()
                context.seek(0)
            if size_bytes > _LARGE_BYTES:
                say(f"Sending the build context to the engine, {readable_size(size_bytes)}")
            with _output_kept(cache, job.lock.version_id):
                outcome = run_build(
                    client,
                    context,
                    tags=tags,
                    platform=build_plan.engine_platform,
                    no_cache=no_cache,
                    network=job.network,
                    build_args=proxies(os.environ, read_pip_settings().proxy),
                    labels=base_digest_label(inspect_image(client, job.base.reference), job.base),
                    show=show,
                )
    if job.lock.import_needs:
        for name, node in not_imported_in(client, outcome.image_id).items():
            say(f"Warning: {node.in_words(name)}")
    return outcome


@contextlib.contextmanager
def _output_kept(cache: Cache, version_id: str) -> Iterator[None]:
    """Writes the whole output of a step that fails to a file of the cache, and names the file."""
    try:
        yield
    except BuildFailedError as error:
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", error.step)
        log = cache.logs / f"{version_id}-{name}.log"
        if not error.lines:
            raise
        with cache.writing():
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text("".join(f"{line}\n" for line in error.lines), encoding="utf-8")
        raise BuildFailedError(
            error.message,
            remedy=f"{error.remedy} The whole output of the step is in {log}.".strip(),
            step=error.step,
            lines=error.lines,
        ) from error


def base_digest_label(inspected: Mapping[str, Any], base: BaseImage) -> dict[str, str]:
    """The label with the base's digest, if the engine knows it and the Dockerfile did not.

    `inspected` is the engine's record of the base: a base from a registry has `RepoDigests`,
    `<repository>@<digest>`.
    """
    if base.digest:
        return {}
    repository, _ = split_reference(base.image)
    known = dict(name.split("@", 1) for name in inspected.get("RepoDigests") or ())
    return {BASE_DIGEST: known[repository]} if repository in known else {}


def _scratch_file(cache: Cache) -> BinaryIO:
    with cache.writing():
        cache.tmp.mkdir(parents=True, exist_ok=True)
        return cast(BinaryIO, tempfile.TemporaryFile(dir=cache.tmp))


def image_tags(lock: Lock, *, tag: str | None = None) -> list[str]:
    """`runpod-comfy:<id>`, or `tag` instead, and `<repository>:<id>-<lock digest 12>`."""
    tag = tag or f"{DEFAULT_REPOSITORY}:{lock.version_id}"
    repository, _ = split_reference(tag)
    digest = lock.digest.removeprefix("sha256:")[:12]
    return [tag, f"{repository}:{lock.version_id}-{digest}"]


def proxies(environment: Mapping[str, str], of_pip: str | None = None) -> dict[str, str]:
    """Build arguments that every engine supports and does not record in the image.

    `of_pip` is the proxy of pip's configuration, used if the environment has none.
    """
    found = {name: environment[name] for name in _PROXIES if environment.get(name)}
    if of_pip and not any(name.lower() != "no_proxy" for name in found):
        address = of_pip if "://" in of_pip else f"http://{of_pip}"
        found |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY"), address)
    return found
