"""A job's files are in the engine's input folder while the job runs, and only then."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from comfy_errors import ComfyError
from rp_handler.inputs.document import JobInputs
from rp_handler.inputs.policy import InputPolicy
from rp_handler.inputs.scratch import inputs_in_place
from rp_handler.inputs.view import InputView

HELLO = {"images": [{"name": "x/a.png", "image": "aGVsbG8="}]}


async def used(view: InputView, document: object, *, fails: bool = False) -> list[str]:
    inputs = JobInputs.model_validate(document)
    async with inputs_in_place(inputs, view, policy=InputPolicy(), variables={}) as digests:
        if fails:
            raise ValueError
        assert {name: (view.root / name).is_file() for name in digests} == dict.fromkeys(
            digests, True
        )
        return list(digests)


@pytest.fixture
def view(tmp_path: Path) -> InputView:
    return InputView(tmp_path / "around/view", tmp_path / "missing")


def test_they_are_there_for_the_job(view: InputView) -> None:
    assert asyncio.run(used(view, HELLO)) == ["x/a.png"]
    assert asyncio.run(used(view, {})) == []


@pytest.mark.parametrize("ends", ["well", "with an error", "before it began"])
def test_afterwards_nothing_is_left(view: InputView, ends: str) -> None:
    document = {"images": [{"name": "a", "image": "!"}]} if ends == "before it began" else HELLO
    try:
        asyncio.run(used(view, document, fails=ends == "with an error"))
    except (ValueError, ComfyError):
        assert ends != "well"
    assert list(view.root.parent.rglob("*")) == [view.root]


def test_a_cancelled_job_leaves_nothing(view: InputView) -> None:
    async def cancelled() -> None:
        async def work() -> None:
            inputs = JobInputs.model_validate(HELLO)
            async with inputs_in_place(inputs, view, policy=InputPolicy(), variables={}):
                running.set()
                await asyncio.sleep(60)

        running = asyncio.Event()
        task = asyncio.create_task(work())
        await running.wait()
        assert (view.root / "x/a.png").read_bytes() == b"hello"
        task.cancel()
        await asyncio.wait({task})

    asyncio.run(cancelled())
    assert list(view.root.parent.rglob("*")) == [view.root]


def test_what_a_node_writes_is_removed_also_without_files_of_the_job(view: InputView) -> None:
    async def writing() -> None:
        inputs = JobInputs()
        async with inputs_in_place(inputs, view, policy=InputPolicy(), variables={}):
            (view.root / "by_a_node.png").write_text("x")

    asyncio.run(writing())
    assert not list(view.root.iterdir())
