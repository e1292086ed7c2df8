"""Builds on the small base, with a show that writes down what it sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import BinaryIO

import docker

from runpod_comfy.images.docker.buildkit import BuildOutcome, run_build
from tests.runpod_comfy.images.recorded_streams import WrittenDown


def build(
    engine: docker.DockerClient,
    context: BinaryIO,
    *,
    tags: Sequence[str] = (),
    show: WrittenDown | None = None,
    no_cache: bool = False,
    network: str = "none",
    platform: str | None = None,
    build_args: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
) -> BuildOutcome:
    """`run_build` without a network, unless the test is about it."""
    return run_build(
        engine,
        context,
        tags=tags,
        platform=platform,
        no_cache=no_cache,
        network=network,
        build_args=build_args or {},
        labels=labels or {},
        show=show or WrittenDown(),
    )


def outcome_of(outcome: BuildOutcome, *layers: str) -> dict[str, str]:
    """Of the named layers, which were run and which were there."""
    return {
        step.name: "cached" if step.cached else "ran"
        for step in outcome.steps
        if step.name in layers
    }
