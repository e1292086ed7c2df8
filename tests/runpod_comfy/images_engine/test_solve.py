"""Builds by the engine of this machine, through the SDK's connection."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path

import docker
import docker.errors
import pytest

from comfy_errors import OperationFailedError
from runpod_comfy.images.docker.buildkit import BuildFailedError
from runpod_comfy.images.docker.connection import connect
from tests.runpod_comfy.images.recorded_streams import WrittenDown
from tests.runpod_comfy.images_engine.builds import build, outcome_of
from tests.runpod_comfy.images_engine.small_image import context

TWO_LAYERS = """\
FROM {base}
RUN --mount=type=bind,source=inputs/a,target=/mnt LAYER=a sh -c 'cat /mnt/text > /a'
RUN --mount=type=bind,source=inputs/b,target=/mnt LAYER=b sh -c 'cat /mnt/text > /b'
"""
INPUTS = {"inputs/a/text": b"of a\n", "inputs/b/text": b"of b\n"}


def test_an_image_is_built_named_and_labelled(
    engine: docker.DockerClient, base: str, name: str
) -> None:
    outcome = build(
        engine,
        context(TWO_LAYERS.format(base=base), INPUTS),
        tags=[f"{name}:1", f"{name}:2"],
        labels={"io.test.label": "a label"},
    )

    image = engine.images.get(f"{name}:1")
    assert image.id == outcome.image_id
    assert sorted(image.tags) == [f"{name}:1", f"{name}:2"]
    assert image.labels["io.test.label"] == "a label"
    assert _output(engine, outcome.image_id, "cat /a /b") == "of a\nof b\n"


def test_only_the_layer_whose_input_changed_runs_again(
    engine: docker.DockerClient, base: str, name: str
) -> None:
    dockerfile = TWO_LAYERS.format(base=base)
    before = build(engine, context(dockerfile, INPUTS), tags=[f"{name}:1"], no_cache=True)
    again = build(engine, context(dockerfile, INPUTS), tags=[f"{name}:2"])
    # An earlier run of this test must not have left it.
    changed = {**INPUTS, "inputs/b/text": name.encode()}
    after = build(engine, context(dockerfile, changed), tags=[f"{name}:3"])

    assert outcome_of(before, "a", "b") == {"a": "ran", "b": "ran"}
    assert outcome_of(again, "a", "b") == {"a": "cached", "b": "cached"}
    assert again.image_id == before.image_id
    assert outcome_of(after, "a", "b") == {"a": "cached", "b": "ran"}


def test_without_the_cache_every_layer_runs(
    engine: docker.DockerClient, base: str, name: str
) -> None:
    dockerfile = TWO_LAYERS.format(base=base)
    build(engine, context(dockerfile, INPUTS), tags=[f"{name}:1"])

    again = build(engine, context(dockerfile, INPUTS), tags=[f"{name}:2"], no_cache=True)

    assert outcome_of(again, "a", "b") == {"a": "ran", "b": "ran"}


def test_a_failing_layer_is_raised_with_its_last_lines_and_leaves_no_image(
    engine: docker.DockerClient, base: str, name: str
) -> None:
    dockerfile = (
        f"FROM {base}\n"
        "RUN LAYER=good sh -c 'echo fine'\n"
        "RUN LAYER=node:bad sh -c 'echo importing; echo ImportError: nothing >&2; exit 7'\n"
    )

    with pytest.raises(BuildFailedError) as raised:
        build(engine, context(dockerfile), tags=[f"{name}:1"])

    assert raised.value.exit_code == 1
    assert raised.value.step == "node:bad"
    assert set(raised.value.lines) == {"importing", "ImportError: nothing"}
    assert "exit code: 7" in raised.value.message
    assert raised.value.remedy
    with pytest.raises(docker.errors.ImageNotFound):
        engine.images.get(f"{name}:1")


def test_an_invalid_dockerfile_is_reported_in_the_engines_words(
    engine: docker.DockerClient,
) -> None:
    with pytest.raises(OperationFailedError, match="unknown instruction: RUNN"):
        build(engine, context("FROM scratch\nRUNN true\n"))


def test_a_step_may_be_silent_for_longer_than_other_requests(
    base: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runpod_comfy.images.docker.connection._ANSWERS_WITHIN_S", 1)
    impatient = connect()
    impatient.api.timeout = 1
    try:
        outcome = build(
            impatient,
            context(f"FROM {base}\nRUN LAYER=slow sleep 3\n"),
            tags=[f"{name}:1"],
            no_cache=True,
        )
    finally:
        impatient.close()

    (slow,) = (step for step in outcome.steps if step.name == "slow")
    assert slow.seconds >= 3


def test_an_interrupted_build_ends_in_the_engine_too(
    engine: docker.DockerClient, base: str, name: str
) -> None:
    mark = f"9{uuid.uuid4().int % 10**9:09}"

    class Interrupted(WrittenDown):
        def output(self, step: str, line: str) -> None:
            super().output(step, line)
            _wait_until(lambda: _runs(f"sleep {mark}"), "the step does not run")
            raise KeyboardInterrupt

    dockerfile = f"FROM {base}\nRUN LAYER=endless sh -c 'sleep {mark} & echo begun; wait'\n"
    with pytest.raises(KeyboardInterrupt):
        build(engine, context(dockerfile), tags=[f"{name}:1"], show=Interrupted())

    _wait_until(lambda: not _runs(f"sleep {mark}"), "the engine goes on with the build")


def test_without_a_network_a_step_has_only_itself(
    engine: docker.DockerClient, base: str, name: str
) -> None:
    dockerfile = f"FROM {base}\nRUN LAYER=look cat /proc/net/dev\n"

    def devices(network: str) -> set[str]:
        show = WrittenDown()
        build(
            engine,
            context(dockerfile),
            tags=[f"{name}:{network}"],
            show=show,
            network=network,
            no_cache=True,
        )
        return {line.partition(":")[0].strip() for _, line in show.lines if ":" in line}

    assert devices("none") == {"lo"}
    ours = Path("/proc/net/dev").read_text().splitlines()
    assert devices("host") & {line.partition(":")[0].strip() for line in ours} > {"lo"}


def test_an_image_for_another_platform_says_so(engine: docker.DockerClient, name: str) -> None:
    outcome = build(
        engine,
        context("FROM scratch\nADD text /text\n", {"text": b"hello"}),
        tags=[f"{name}:1"],
        platform="linux/arm64",
    )

    assert engine.images.get(outcome.image_id).attrs["Architecture"] == "arm64"


def test_a_proxy_reaches_the_steps_and_stays_out_of_the_image(
    engine: docker.DockerClient, base: str, name: str
) -> None:
    show = WrittenDown()
    outcome = build(
        engine,
        context(f"FROM {base}\nRUN LAYER=look sh -c 'echo \"${{#HTTPS_PROXY}} letters\"'\n"),
        tags=[f"{name}:1"],
        show=show,
        no_cache=True,
        build_args={"HTTPS_PROXY": "http://me:hunter2@proxy.test"},
    )

    assert ("look", "28 letters") in show.lines
    image = engine.images.get(outcome.image_id)
    assert "hunter2" not in str(image.history()) + str(image.attrs)


def _output(engine: docker.DockerClient, image: str, command: str) -> str:
    told = engine.containers.run(image, ["sh", "-c", command], network_mode="none", remove=True)
    return bytes(told).decode()


def _wait_until(holds: Callable[[], bool], otherwise: str) -> None:
    until = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < until, otherwise
        time.sleep(0.1)


def _runs(command: str) -> bool:
    """Whether a process of this machine, in a container or not, has that command line."""
    wanted = command.encode().replace(b" ", b"\0") + b"\0"
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if place.read_bytes() == wanted:
                return True
        except OSError:
            continue
    return False
