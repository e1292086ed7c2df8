"""Steps and lines from streams that real engines sent."""

from __future__ import annotations

import pytest

from runpod_comfy.images.docker.build_progress import (
    BuildProgress,
    Vertex,
    VertexLog,
    VertexWarning,
    layer_in,
    readable_line,
    step_name,
)
from tests.runpod_comfy.images.recorded_streams import ENGINES, WrittenDown, replay

LAYERS = ["node:paper", "torch 1/2"]


@pytest.mark.parametrize("engine", ENGINES)
def test_each_layer_starts_and_ends_once_in_order(engine: str) -> None:
    progress, shown = replay(engine, "built")

    layers = [step for step in shown.finished_steps if step.name in LAYERS]
    assert [name for name in shown.started_steps if name in LAYERS] == LAYERS
    assert [step.name for step in layers] == LAYERS
    assert not any(step.cached for step in layers)
    assert layers[1].seconds >= 0.2
    assert {step.name for step in progress.steps()} == {step.name for step in shown.finished_steps}
    assert len(progress.steps()) == len(shown.finished_steps)


@pytest.mark.parametrize("engine", ENGINES)
def test_layers_that_were_there_are_cached_and_never_started(engine: str) -> None:
    _, shown = replay(engine, "cached")

    layers = [step for step in shown.finished_steps if step.name in LAYERS]
    assert sorted(step.name for step in layers) == LAYERS
    assert all(step.cached for step in layers)
    assert not set(shown.started_steps) & set(LAYERS)


@pytest.mark.parametrize("engine", ENGINES)
def test_lines_are_readable_and_whole(engine: str) -> None:
    _, shown = replay(engine, "built")

    lines = [line for step, line in shown.lines if step == "node:paper"]
    assert sorted(lines) == sorted(
        ["reading the mount", "warned", "hello", "100%", "green no end of line"]
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_the_failed_layer_is_named_with_its_last_lines(engine: str) -> None:
    progress, shown = replay(engine, "failed")

    failure = progress.failure()
    assert failure is not None
    assert failure.layer == "node:bad one"
    assert "exit code: 3" in failure.reason
    assert set(failure.last_lines) == {
        "installing",
        "ModuleNotFoundError: no module named nothing",
    }
    assert "wheels" in [step.name for step in shown.finished_steps]
    assert "node:bad one" not in [step.name for step in progress.steps()]


def test_of_steps_that_end_together_the_one_that_failed_is_reported_not_those_cancelled() -> None:
    progress = BuildProgress(WrittenDown())

    progress.handle(_vertex("RUN LAYER=a sh a", error="context canceled"))
    progress.handle(_vertex("RUN LAYER=b sh b", error="exit code: 1"))

    failure = progress.failure()
    assert failure is not None
    assert failure.layer == "b"


def test_only_the_end_of_a_long_output_is_kept_for_the_error() -> None:
    progress = BuildProgress(WrittenDown())
    progress.handle(_vertex("RUN LAYER=a sh a"))
    text = "".join(f"line {number}\n" for number in range(1000)).encode()

    progress.handle(_log(text))
    progress.handle(_vertex("RUN LAYER=a sh a", error="exit code: 1"))

    failure = progress.failure()
    assert failure is not None
    assert failure.last_lines == tuple(f"line {number}" for number in range(980, 1000))


def test_a_letter_cut_between_two_messages_is_one_letter() -> None:
    shown = WrittenDown()
    progress = BuildProgress(shown)
    progress.handle(_vertex("RUN LAYER=a sh a"))

    for piece in (b"gr\xc3", b"\xbc\xc3\x9fe\n"):
        progress.handle(_log(piece))

    assert shown.lines == [("a", "grüße")]


def test_a_warning_of_the_builder_is_a_line_of_its_step() -> None:
    shown = WrittenDown()
    progress = BuildProgress(shown)
    progress.handle(_vertex("RUN LAYER=a sh a"))

    warning = VertexWarning(vertex="sha256:RUN LAYER=a sh a", text="doubtful")
    progress.handle(warning)

    assert shown.lines == [("a", "Warning: doubtful")]


def test_a_layer_that_ran_stays_one_that_ran_when_reported_again_as_cached() -> None:
    progress = BuildProgress(WrittenDown())
    progress.handle(_vertex("RUN LAYER=a sh a", completed=3.0))
    progress.handle(_vertex("RUN LAYER=a sh a", completed=3.0, cached=True))

    assert [step.cached for step in progress.steps()] == [False]


@pytest.mark.parametrize(
    ("vertex", "name"),
    [
        ("[2/9] RUN --mount=type=bind LAYER=node:foo sh /mnt/in_image.sh node.sh", "node:foo"),
        ("[2/9] RUN LAYER='torch 1/3' sh x", "torch 1/3"),
        ('[2/9] RUN LAYER="torch 1/3" sh x', "torch 1/3"),
        ("[1/9] FROM docker.io/library/base", "[1/9] FROM docker.io/library/base"),
    ],
)
def test_a_step_is_named_as_its_layer(vertex: str, name: str) -> None:
    assert step_name(vertex) == name


@pytest.mark.parametrize(
    ("step", "name"),
    [
        ("RUN /bin/sh -c LAYER=torch-2 sh /mnt/x # buildkit", "torch-2"),
        ("RUN /bin/sh -c LAYER='node:a b' TARGET=image sh x", "node:a b"),
        ('RUN /bin/sh -c LAYER="node:a b" sh x', "node:a b"),
        ("RUN /bin/sh -c MY_LAYER=no sh x", None),
        ("WORKDIR /app", None),
    ],
)
def test_the_name_of_a_layer_is_in_its_step(step: str, name: str | None) -> None:
    assert layer_in(step) == name


def test_a_password_in_a_line_is_not_shown() -> None:
    assert readable_line("GET https://me:hunter2@host/simple") == "GET https://***@host/simple"


def _vertex(
    name: str, *, error: str = "", completed: float | None = None, cached: bool = False
) -> Vertex:
    return Vertex(
        digest=f"sha256:{name}",
        name=name,
        cached=cached,
        started=1.0,
        completed=completed or (2.0 if error else None),
        error=error,
    )


def _log(text: bytes) -> VertexLog:
    return VertexLog(vertex="sha256:RUN LAYER=a sh a", stream=1, text=text)
