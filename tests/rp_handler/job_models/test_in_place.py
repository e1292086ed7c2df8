"""Models that jobs bring along, on the fixture core: each job uses its own, and only those."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from comfy_errors import InvalidInputError, UnavailableError
from comfy_home.manifest import Manifest, save_manifest
from comfy_workflows.graph import parse_workflow
from comfy_workflows.preflight import MissingModelsError
from rp_handler.engine.prompt import Listener, Progress
from rp_handler.engine.supervisor import ResidentEngine
from rp_handler.errors import InputFetchError, JobTimeoutError
from rp_handler.home.realized import Home, open_home
from rp_handler.inputs.policy import InputPolicy
from rp_handler.job.job import Job
from rp_handler.job.run import run_job
from rp_handler.job_models.document import JobModel
from rp_handler.job_models.in_place import JobModels
from rp_handler.job_models.policy import ModelPolicy
from rp_handler.outputs.inline import Base64Sink
from tests.graphs import node
from tests.http_server import Answer, serve
from tests.model_downloads import Served, serving
from tests.safetensors_bytes import safetensors

POLICY = ModelPolicy(hosts=("127.0.0.1",))
READ = {"1": node("FixtureModel", name="x.safetensors")}
ONE, TWO = safetensors(b" one"), safetensors(b" two")


def job_models(
    home: Home, scratch: Path, policy: ModelPolicy | None = POLICY, **variables: str
) -> JobModels:
    return JobModels(
        home,
        policy,
        scratch=scratch,
        inputs=InputPolicy(silence_s=5, allows_private=True),
        variables={"COMFY_CACHE_MODELS": str(scratch / "store"), **variables},
        say=lambda _: None,
    )


def brings(source: str, path: str = "upscale_models/x.safetensors") -> list[JobModel]:
    return [JobModel(source=source, target_path=path)]


def run(models: JobModels, *jobs: Sequence[JobModel], **options: Any) -> list[Any]:
    """Jobs one after the other on one worker: the text, whether a node ran, and the models of the
    result; or the error. At last how often an engine was started.
    """
    said: list[str] = []
    ran: list[str] = []

    async def answer(wanted: Sequence[JobModel], engine: ResidentEngine) -> Any:
        def note(progress: Progress) -> None:
            ran.append(progress.node)

        job = Job(
            id="j",
            graph=parse_workflow(options.get("graph", READ), place="g"),
            place="g",
            sink=Base64Sink(),
            listener=Listener(say=said.append, progress=note),
            models=models.in_place(wanted, engine),
            timeout_s=options.get("timeout_s"),
        )
        ran.clear()
        result = await run_job(job, engine)
        return result["text"][0]["text"], bool(ran), result["models"]

    async def scenario() -> list[Any]:
        listener = Listener(say=said.append, progress=lambda _: None)
        async with ResidentEngine(models.home, listener) as engine:
            return [
                (await asyncio.gather(answer(wanted, engine), return_exceptions=True))[0]
                for wanted in jobs
            ]

    answers = asyncio.run(asyncio.wait_for(scenario(), 60))
    assert models.home.job_models is not None
    assert not [path for path in models.home.job_models.rglob("*") if not path.is_dir()]
    return [*answers, sum("was ready after" in one for one in said)]


def in_result(content: bytes) -> list[Mapping[str, Any]]:
    sha256 = hashlib.sha256(content).hexdigest()
    return [{"path": "upscale_models/x.safetensors", "sha256": sha256}]


def test_a_job_uses_its_model_and_another_file_of_the_name_is_never_mixed_up(
    opened: Home, tmp_path: Path
) -> None:
    models = job_models(opened, tmp_path)
    with serving(one=Served(content=ONE), two=Served(content=TWO)) as url:
        one, two = brings(f"{url}/one"), brings(f"{url}/two")
        *answers, starts = run(models, one, one, two, two, one)
    assert answers == [
        ("one", True, in_result(ONE)),
        ("one", False, in_result(ONE)),
        ("two", True, in_result(TWO)),
        ("two", False, in_result(TWO)),
        ("one", True, in_result(ONE)),
    ]
    # The node remembers what it has read by its path.
    assert starts == 3


def test_a_job_without_the_model_does_not_find_that_of_another(
    opened: Home, tmp_path: Path
) -> None:
    models = job_models(opened, tmp_path)
    with serving(one=Served(content=ONE)) as url:
        first, second, third, starts = run(models, brings(f"{url}/one"), [], brings(f"{url}/one"))
    assert first[0] == third[0] == "one"
    assert isinstance(second, MissingModelsError)
    assert starts == 1


def test_files_of_different_names_need_no_restart(opened: Home, tmp_path: Path) -> None:
    models = job_models(opened, tmp_path)
    with serving(one=Served(content=ONE), two=Served(content=TWO)) as url:
        jobs = [
            [*brings(f"{url}/one"), *brings(f"{url}/{name}", f"loras/{name}.safetensors")]
            for name in ("one", "two", "one")
        ]
        *answers, starts = run(models, *jobs)
    assert [text for text, _, _ in answers] == ["one"] * 3
    assert starts == 1


def test_the_timeout_of_a_job_includes_its_models(opened: Home, tmp_path: Path) -> None:
    models = job_models(opened, tmp_path)
    slow = Answer(body=safetensors(bytes(10**6)), rate=100_000)
    with serve(answering=lambda _: slow) as url:
        error, _ = run(models, brings(f"{url}/x"), timeout_s=0.5)
    assert isinstance(error, JobTimeoutError)


def test_a_job_whose_model_fails_does_not_disturb_the_next(opened: Home, tmp_path: Path) -> None:
    models = job_models(opened, tmp_path)
    with (
        serving(one=Served(content=ONE)) as url,
        serve(answering=lambda _: Answer(status=404)) as gone,
    ):
        first, second, starts = run(models, brings(f"{gone}/x"), brings(f"{url}/one"))
    assert isinstance(first, InputFetchError)
    assert second[0] == "one"
    assert starts == 1


def test_kept_models_are_listed_and_used_again_after_a_restart(
    opened: Home, tmp_path: Path
) -> None:
    served = Served(content=ONE)
    with serving(one=served) as url:
        stated = [
            JobModel(
                source=f"{url}/one",
                target_path="upscale_models/x.safetensors",
                sha256=hashlib.sha256(ONE).hexdigest(),
            )
        ]
        run(job_models(opened, tmp_path), stated)
        asked = len(served.requests)
        again = job_models(opened, tmp_path)
        assert again.listing() == {"job_models": in_result(ONE)}
        answer, _ = run(again, stated)
    assert answer[0] == "one"
    assert len(served.requests) == asked


def test_where_jobs_may_bring_none_the_way_out_is_named(opened: Home, tmp_path: Path) -> None:
    models = job_models(opened, tmp_path, policy=None)
    assert models.home is opened
    assert models.listing() == {}
    assert not list((tmp_path / "tmp").iterdir())

    async def bring(wanted: Sequence[JobModel]) -> None:
        async with ResidentEngine(opened, Listener(say=print, progress=print)) as engine:
            async with models.in_place([], engine) as digests:
                assert digests == {}
            async with models.in_place(wanted, engine):
                pass

    with pytest.raises(InvalidInputError, match="this worker does not accept 'models'") as caught:
        asyncio.run(bring(brings("hf://org/name/x.safetensors")))
    assert "COMFY_JOB_MODELS" in caught.value.remedy


def test_without_a_store_they_are_in_a_folder_of_this_user_alone(
    opened: Home, tmp_path: Path
) -> None:
    job_models(opened, tmp_path, COMFY_CACHE_MODELS="")
    folder = tmp_path / f"tmp/comfy-job-models-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnavailableError, match="belongs to another user"):
        job_models(opened, tmp_path, COMFY_CACHE_MODELS="")


def test_an_unchecked_version_cannot_take_models(home: Path, tmp_path: Path) -> None:
    save_manifest(home, Manifest(version_id="demo", complete=True))
    unchecked = open_home(home, version_id="demo", id_was_asked=False)
    with pytest.raises(UnavailableError, match="never checked"):
        job_models(unchecked, tmp_path)
