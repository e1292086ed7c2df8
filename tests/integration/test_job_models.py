"""Models that jobs bring along, on real ComfyUI: found while it runs, and never mixed up."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from comfy_workflows.graph import parse_workflow
from comfy_workflows.preflight import MissingModelsError
from rp_handler.engine.prompt import Listener
from rp_handler.engine.supervisor import ResidentEngine
from rp_handler.home.realized import open_home
from rp_handler.inputs.policy import InputPolicy
from rp_handler.job.job import Job
from rp_handler.job.run import run_job
from rp_handler.job_models.document import JobModel
from rp_handler.job_models.in_place import JobModels
from rp_handler.job_models.policy import ModelPolicy
from rp_handler.outputs.inline import Base64Sink
from tests.graphs import node
from tests.model_downloads import Served, serving
from tests.program import ROOT, Program
from tests.safetensors_bytes import safetensors

UPSCALER = (ROOT / "versions/demo/models/bicubic-2x-compact.safetensors").read_bytes()
# ComfyUI's own loader, which keeps its last LoRA by the path of the file.
_READ_LORA = """
import folder_paths
import nodes

class ReadLora(nodes.LoraLoader):
    RETURN_TYPES = ("STRING",)
    FUNCTION = "run"
    CATEGORY = "testing"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"lora_name": (folder_paths.get_filename_list("loras"),)}}

    def run(self, lora_name):
        self.load_lora(None, None, lora_name, 1.0, 1.0)
        return (bytes(self.loaded_lora[1]["weights"].tolist()).decode(),)

NODE_CLASS_MAPPINGS = {"ReadLora": ReadLora}
"""


def without_weights(content: bytes) -> bytes:
    """A model of the same shape."""
    end = 8 + int.from_bytes(content[:8], "little")
    return content[:end] + bytes(len(content) - end)


@pytest.fixture(scope="module")
def home(program: Program, place: Path) -> Path:
    spec = json.loads((ROOT / "versions/demo.json").read_text())
    added = place / "read_lora"
    added.mkdir()
    (added / "__init__.py").write_text(_READ_LORA)
    paper = ROOT / "versions/demo/custom_nodes/marbled_paper"
    spec |= {
        "version_id": "brings",
        "custom_nodes": [
            {"name": "read_lora", "repo": str(added)},
            {"name": "marbled_paper", "repo": str(paper)},
        ],
        "models": [],
    }
    (place / "versions/brings.json").write_text(json.dumps(spec))
    target = place / "brings"
    done = program("realize", "brings", "--target", target, "--json")
    assert done.code == 0, done.err
    (target / "models/loras").mkdir(exist_ok=True)
    (target / "models/loras/own.safetensors").write_bytes(safetensors(b"own"))
    return target


class Worker:
    """Runs jobs on one engine at a time, one after the other."""

    def __init__(self, models: JobModels, engine: ResidentEngine, said: list[str]) -> None:
        self.models, self.engine, self.said = models, engine, said

    @property
    def starts(self) -> int:
        return sum("was ready after" in sentence for sentence in self.said)

    async def run(self, graph: Mapping[str, Any], brings: Mapping[str, str]) -> dict[str, Any]:
        """The result of a graph; the job brings the models from URLs to paths."""
        wanted = [JobModel(source=url, target_path=path) for path, url in brings.items()]
        job = Job(
            id="j",
            graph=parse_workflow(dict(graph), place="g"),
            place="g",
            sink=Base64Sink(),
            listener=Listener(say=self.said.append, progress=lambda _: None),
            strict=True,
            models=self.models.in_place(wanted, self.engine),
        )
        return await run_job(job, self.engine)


def on_a_worker(home: Path, tmp_path: Path, steps: Any) -> None:
    async def scenario() -> None:
        said: list[str] = []
        listener = Listener(say=said.append, progress=lambda _: None)
        models = JobModels(
            open_home(home, version_id="brings", id_was_asked=False),
            ModelPolicy(hosts=("127.0.0.1",)),
            scratch=tmp_path,
            inputs=InputPolicy(allows_private=True),
            variables={"COMFY_CACHE_MODELS": str(tmp_path / "store")},
            say=said.append,
        )
        async with ResidentEngine(models.home, listener) as engine:
            await steps(Worker(models, engine, said))

    asyncio.run(asyncio.wait_for(scenario(), 300))


def upscaled(name: str) -> dict[str, Any]:
    paper = json.loads((ROOT / "workflows/example.json").read_text())["1"]
    paper["inputs"] |= {"width": 64, "height": 64}
    return {
        "1": paper,
        "2": node("UpscaleModelLoader", model_name=name),
        "3": node("ImageUpscaleWithModel", upscale_model=["2", 0], image=["1", 0]),
        "4": node("SaveImage", images=["3", 0], filename_prefix="x"),
    }


def lora(name: str) -> dict[str, Any]:
    return {"1": node("ReadLora", lora_name=name), "2": node("PreviewAny", source=["1", 0])}


def texts(result: Mapping[str, Any]) -> Sequence[str]:
    return [one["text"] for one in result["text"]]


def test_a_model_of_a_job_makes_its_picture_and_another_of_the_name_another_one(
    home: Path, tmp_path: Path
) -> None:
    path = "upscale_models/sub/up.safetensors"
    graph = upscaled("sub/up.safetensors")
    other = without_weights(UPSCALER)

    async def steps(worker: Worker) -> None:
        with pytest.raises(MissingModelsError):
            await worker.run(graph, {})
        first = await worker.run(graph, {path: f"{url}/up"})
        assert first["models"] == [{"path": path, "sha256": hashlib.sha256(UPSCALER).hexdigest()}]
        again = await worker.run(graph, {path: f"{url}/up"})
        assert again["images"] == first["images"]
        assert again["timings"]["nodes"] == {}
        assert worker.starts == 1
        second = await worker.run(graph, {path: f"{url}/other"})
        assert second["models"] == [{"path": path, "sha256": hashlib.sha256(other).hexdigest()}]
        assert second["images"][0]["sha256"] != first["images"][0]["sha256"]
        assert worker.starts == 2
        with pytest.raises(MissingModelsError):
            await worker.run(graph, {})

    with serving(up=Served(content=UPSCALER), other=Served(content=other)) as url:
        on_a_worker(home, tmp_path, steps)


def test_each_job_gets_the_lora_that_it_brings(home: Path, tmp_path: Path) -> None:
    files = {name: Served(content=safetensors(name.encode())) for name in ("one", "two")}

    async def steps(worker: Worker) -> None:
        x, deep = "loras/x.safetensors", "loras/a/b/x.safetensors"
        assert texts(await worker.run(lora("own.safetensors"), {})) == ["own"]
        assert texts(await worker.run(lora("x.safetensors"), {x: f"{url}/one"})) == ["one"]
        # Its folders are gone again afterwards.
        answer = await worker.run(lora("a/b/x.safetensors"), {deep: f"{url}/two"})
        assert texts(answer) == ["two"]
        assert texts(await worker.run(lora("own.safetensors"), {})) == ["own"]
        assert worker.starts == 1
        assert texts(await worker.run(lora("x.safetensors"), {x: f"{url}/two"})) == ["two"]
        assert texts(await worker.run(lora("x.safetensors"), {x: f"{url}/one"})) == ["one"]
        assert worker.starts == 3

    with serving(**files) as url:
        on_a_worker(home, tmp_path, steps)
