"""How a run looks to the user who waits for it."""

from __future__ import annotations

import io
import time

import pytest

from comfy_files.progress import StatusLine
from rp_handler.engine.prompt import Progress
from rp_handler.job.terminal import NodesDisplay, progress_text


def _at(node: str, class_type: str = "KSampler", **more: float | str) -> Progress:
    return Progress(node=node, class_type=class_type, done=1, total=5, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (_at("3"), "[2/5] KSampler (3)"),
        (_at("3", step=7, steps=20), "[2/5] KSampler (3): 7/20"),
        (_at("3", step=0.25, steps=1.0), "[2/5] KSampler (3): 25%"),
        (_at("3", title="KSampler"), "[2/5] KSampler (3)"),
        (_at("3", title="Refine", step=1, steps=2), '[2/5] KSampler "Refine" (3): 1/2'),
        (_at("3:1", class_type=""), "[2/5] node (3:1)"),
    ],
)
def test_a_node_is_named_with_its_title_its_id_and_its_steps(progress: Progress, text: str) -> None:
    assert progress_text(progress) == text


def test_on_a_terminal_each_step_is_seen_and_nothing_stays() -> None:
    stream = io.StringIO()
    display = NodesDisplay(StatusLine(stream, moving=True))
    for step in (1, 2):
        display.show(_at("3", step=step, steps=2))
    display.end()
    assert "[2/5] KSampler (3): 1/2" in stream.getvalue()
    assert stream.getvalue().endswith("[2/5] KSampler (3): 2/2\r\x1b[K")
    assert "\n" not in stream.getvalue()


def test_in_a_pipe_only_a_node_that_takes_long_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rp_handler.job.terminal.SLOW_S", 1.0)
    stream = io.StringIO()
    display = NodesDisplay(StatusLine(stream, moving=False))
    for node in ("1", "2"):
        display.show(_at(node, "Quick"))
    display.show(_at("3"))
    display.show(_at("3", step=1, steps=20))
    ends = time.monotonic() + 60
    while not stream.getvalue() and time.monotonic() < ends:
        time.sleep(0.05)
    display.show(_at("3", step=2, steps=20))
    display.show(_at("9", "SaveImage"))
    display.end()
    time.sleep(1.2)
    assert stream.getvalue() == "[2/5] KSampler (3): 1/20\n"


def test_names_of_a_workflow_are_on_one_line() -> None:
    progress = Progress(node="1\n2", class_type="A\x1b[2J", title="t\r", done=0, total=1)
    assert progress_text(progress) == '[1/1] A\\x1b[2J "t\\r" (1\\n2)'
