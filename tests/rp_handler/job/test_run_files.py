"""Files that a job brings along, on the fixture core: each job finds its own, and only those."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from comfy_home.layout import OBJECT_INFO_NAME
from comfy_workflows.graph import InvalidWorkflowError, parse_workflow
from rp_handler.engine.prompt import Listener, Progress
from rp_handler.engine.supervisor import ResidentEngine
from rp_handler.errors import JobTimeoutError
from rp_handler.home.realized import Home, open_home
from rp_handler.inputs.document import JobInputs
from rp_handler.inputs.policy import InputPolicy
from rp_handler.inputs.scratch import inputs_in_place
from rp_handler.inputs.view import InputView
from rp_handler.job.job import Job
from rp_handler.job.run import run_job
from rp_handler.outputs.inline import Base64Sink
from tests.graphs import node
from tests.http_server import Answer, serve

READ = {"1": node("FixtureRead", file="3d/a.txt")}


@pytest.fixture
def opened(home: Path) -> Home:
    (home / "input/3d").mkdir()
    (home / "input/3d/a.txt").write_text("of the home")
    return open_home(home, version_id="demo", id_was_asked=False)


def sent(text: str, name: str = "3d/a.txt") -> dict[str, Any]:
    return {"images": [{"name": name, "image": base64.b64encode(text.encode()).decode()}]}


def run(home: Home, tmp_path: Path, *jobs: Mapping[str, Any], **options: Any) -> list[Any]:
    """The texts of jobs with these inputs, one after the other on one engine, or their errors, and
    which nodes ran.
    """
    view = InputView(tmp_path / "around/view", home.root / "input")
    ran: list[str] = []
    listener = Listener(say=lambda _: None, progress=lambda _: None)

    def note(progress: Progress) -> None:
        ran.append(progress.node)

    async def answer(inputs: Mapping[str, Any], engine: ResidentEngine) -> Any:
        job = Job(
            id="j",
            graph=parse_workflow(options.get("graph", READ), place="g"),
            place="g",
            sink=Base64Sink(),
            listener=Listener(say=lambda _: None, progress=note),
            files=inputs_in_place(
                JobInputs.model_validate(inputs),
                view,
                policy=options.get("policy", InputPolicy()),
                variables={},
            ),
            timeout_s=options.get("timeout_s"),
        )
        ran.clear()
        result = await run_job(job, engine)
        return result["text"][0]["text"], [*ran]

    async def scenario() -> list[Any]:
        async with ResidentEngine(home, listener, input_folder=view.root) as engine:
            return [
                (await asyncio.gather(answer(inputs, engine), return_exceptions=True))[0]
                for inputs in jobs
            ]

    answers = asyncio.run(asyncio.wait_for(scenario(), 60))
    left = [path for path in view.root.parent.rglob("*") if not path.is_symlink()]
    assert left == [view.root]
    return answers


def test_each_job_reads_its_own_file_and_an_equal_one_runs_nothing(
    opened: Home, tmp_path: Path
) -> None:
    answers = run(opened, tmp_path, sent("one"), sent("two"), sent("two"), {}, sent("one"))
    texts = [text for text, _ in answers]
    assert texts == ["one", "two", "two", "of the home", "one"]
    assert [bool(ran) for _, ran in answers] == [True, True, False, True, True]
    assert (opened.root / "input/3d/a.txt").read_text() == "of the home"


def test_the_check_before_a_run_sees_the_files_of_the_job(opened: Home, tmp_path: Path) -> None:
    combo = [["listed.txt"], {"image_upload": True}]
    classes = {"FixtureRead": {"input": {"required": {"file": combo}}, "output_node": True}}
    (opened.root / OBJECT_INFO_NAME).write_text(json.dumps(classes))
    graph = {"1": node("FixtureRead", file="new/b.txt")}
    answers = run(opened, tmp_path, sent("one", "new/b.txt"), {}, graph=graph)
    assert answers[0][0] == "one"
    assert isinstance(answers[1], InvalidWorkflowError)
    assert '"new/b.txt" is not in' in answers[1].message
    assert "nor among the job's images and files" in answers[1].message


def test_the_timeout_of_a_job_includes_its_files(opened: Home, tmp_path: Path) -> None:
    with serve(answering=lambda _: Answer(body=bytes(10**6), rate=100_000)) as url:
        inputs = {"files": [{"name": "a", "url": url}]}
        policy = InputPolicy(allows_private=True)
        (error,) = run(opened, tmp_path, inputs, policy=policy, timeout_s=0.5)
    assert isinstance(error, JobTimeoutError)
