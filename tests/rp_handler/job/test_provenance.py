"""What jobs on the fixture core say that they were made from."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

import rp_handler
import runpod_comfy
from comfy_home.layout import OBJECT_INFO_NAME
from comfy_home.manifest import CheckReport, load_manifest, save_manifest
from comfy_models.store import MEMORY_NAME
from comfy_workflows.graph import parse_workflow, workflow_digest
from rp_handler.engine.prompt import Listener
from rp_handler.engine.supervisor import ResidentEngine
from rp_handler.home.realized import Home, open_home
from rp_handler.job.job import Job
from rp_handler.job.provenance import texts_for_pictures
from rp_handler.job.run import run_job
from rp_handler.outputs.inline import Base64Sink
from rp_handler.pictures.convert import Conversion
from rp_handler.pictures.texts import texts_in
from tests.graphs import node

NAMES = ("provenance", "prompt", "workflow")
MODEL = b"a model"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def opened(home: Path) -> Home:
    """A checked version, whose input folder has pictures as nodes make them."""
    info = PngImagePlugin.PngInfo()
    info.add_text("prompt", '{"of": "an earlier job"}')
    info.add_text("workflow", '{"nodes": []}')
    info.add_text("provenance", "of somebody else")
    picture = Image.linear_gradient("L").convert("RGB")
    picture.save(home / "input/p.png", pnginfo=info)
    picture.save(home / "input/p.jpg")
    picture.save(home / "input/p.webp")
    picture.save(home / "input/p.gif")
    (home / "input/faces").mkdir()
    (home / "input/faces/a.txt").write_text("a face")
    (home / "models/upscale_models/x.pth").write_bytes(MODEL)
    classes = {
        "FixtureLoader": {"input": {"required": {"model_name": [[], {}]}}, "output_node": True},
        "FixtureShow": {"input": {"required": {"ui": ["STRING"]}}, "output_node": True},
    }
    (home / OBJECT_INFO_NAME).write_text(json.dumps(classes))
    manifest = load_manifest(home)
    assert manifest is not None
    check = CheckReport(
        comfyui_version="1",
        node_classes={},
        folder_names={"upscale_models": ["upscale_models"]},
        flags=[],
        model_inputs={"FixtureLoader": {"model_name": ["upscale_models"]}},
    )
    save_manifest(home, manifest.model_copy(update={"check": check}))
    return open_home(home, version_id="demo", id_was_asked=False)


def showing(*names: str) -> dict[str, Any]:
    entries = [{"filename": name, "subfolder": "", "type": "input"} for name in names]
    return {
        "1": node("FixtureShow", ui={"images": entries}),
        "2": node("FixtureLoader", model_name="x.pth"),
        "3": node("FixtureShow", ui={"text": ["faces", "nothing\nof this name", "../escape"]}),
    }


def run(home: Home, graph: object, **options: Any) -> dict[str, Any]:
    async def scenario() -> dict[str, Any]:
        said = Listener(say=lambda _: None, progress=lambda _: None)
        async with ResidentEngine(home, said) as engine:
            job = Job(
                id="j",
                graph=parse_workflow(graph, place="g"),
                place="g",
                sink=Base64Sink(),
                listener=said,
                is_checked=True,
                **options,
            )
            return await run_job(job, engine)

    return asyncio.run(asyncio.wait_for(scenario(), 60))


def pixels(content: bytes) -> bytes:
    with Image.open(io.BytesIO(content)) as image:
        return image.convert("RGB").tobytes()


def test_the_result_says_what_it_was_made_from(opened: Home) -> None:
    graph = showing("p.png")
    brought = nullcontext({"mine.txt": "5e" * 32})
    home = replace(opened, image="sha256:" + "ab" * 32)
    found = run(home, graph, has_provenance=True, files=brought)
    provenance = found["provenance"]
    assert provenance["schema"] == "runpod-comfy/provenance/1"
    assert provenance["version"] == {
        "id": "demo",
        "lock": "sha256:" + "0" * 64,
        "image": "sha256:" + "ab" * 32,
        "comfyui": "0.0.1",
        "handler": rp_handler.__version__,
    }
    assert provenance["workflow"] == workflow_digest(parse_workflow(graph, place="g"))
    # It was never verified: it is read now, and that is remembered.
    assert provenance["models"] == [{"path": "upscale_models/x.pth", "sha256": sha256(MODEL)}]
    assert sha256(MODEL) in (opened.models / MEMORY_NAME).read_text()
    assert provenance["inputs"] == [
        {"name": "faces/a.txt", "sha256": sha256(b"a face")},
        {"name": "mine.txt", "sha256": "5e" * 32},
        {"name": "p.png", "sha256": sha256((opened.root / "input/p.png").read_bytes())},
    ]
    assert provenance["device"] == found["device"]


def test_each_picture_carries_it_with_the_graph_and_is_otherwise_as_it_was(opened: Home) -> None:
    graph = showing("p.png", "p.jpg", "p.webp", "p.gif")
    found = run(opened, graph, has_provenance=True)
    *marked, other = found["images"]
    assert [entry["mime"] for entry in marked] == ["image/png", "image/jpeg", "image/webp"]
    for entry in marked:
        content = base64.b64decode(entry["data"])
        texts = texts_in(content, NAMES)
        assert texts is not None
        assert json.loads(texts["provenance"]) == found["provenance"]
        assert json.loads(texts["prompt"]) == graph
        assert texts.get("workflow") == ('{"nodes": []}' if entry["mime"] == "image/png" else None)
        assert (entry["sha256"], entry["bytes"]) == (sha256(content), len(content))
        before = opened.root / "input" / entry["filename"]
        assert pixels(content) == pixels(before.read_bytes())
        assert texts_in(before.read_bytes(), ("prompt",)) != {"prompt": texts["prompt"]}
    assert base64.b64decode(other["data"]) == (opened.root / "input/p.gif").read_bytes()
    assert found["warnings"] == [
        "p.gif of node 1 was delivered without provenance and prompt in it: "
        "only PNG, JPEG and WebP files have room."
    ]


def test_without_being_asked_nothing_is_added_or_read(opened: Home) -> None:
    found = run(opened, showing("p.png"))
    assert "provenance" not in found
    (entry,) = found["images"]
    assert base64.b64decode(entry["data"]) == (opened.root / "input/p.png").read_bytes()
    assert not (opened.models / MEMORY_NAME).exists()


def test_a_converted_picture_carries_it_too(opened: Home) -> None:
    asked = Conversion(format="webp", quality=80)
    found = run(opened, showing("p.png"), has_provenance=True, conversion=asked)
    (entry,) = found["images"]
    texts = texts_in(base64.b64decode(entry["data"]), NAMES)
    assert entry["filename"] == "p.webp"
    assert texts is not None
    assert json.loads(texts["provenance"]) == found["provenance"]
    assert (sorted(texts), texts["workflow"]) == (sorted(NAMES), '{"nodes": []}')


def test_a_job_that_strips_metadata_has_it_in_its_result_only(opened: Home) -> None:
    asked = Conversion(metadata="strip")
    found = run(opened, showing("p.png"), has_provenance=True, conversion=asked)
    assert texts_in(base64.b64decode(found["images"][0]["data"]), NAMES) == {}
    assert found["provenance"]["workflow"]


def test_a_version_that_keeps_graphs_out_of_pictures_keeps_them_out(opened: Home) -> None:
    graph = parse_workflow(showing("p.png"), place="g")
    assert [*texts_for_pictures({}, graph, opened)] == ["provenance", "prompt"]
    manifest = opened.manifest.model_copy(update={"comfy_args": ["--disable-metadata"]})
    assert [*texts_for_pictures({}, graph, replace(opened, manifest=manifest))] == ["provenance"]


def test_the_models_of_an_unchecked_version_are_not_known(opened: Home) -> None:
    opened.object_info.unlink()
    assert run(opened, showing("p.png"), has_provenance=True)["provenance"]["models"] is None


def test_a_picture_that_is_damaged_is_delivered_as_it_is(opened: Home) -> None:
    (opened.root / "input/p.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    found = run(opened, showing("p.png"), has_provenance=True)
    assert base64.b64decode(found["images"][0]["data"]) == b"\x89PNG\r\n\x1a\nno"
    assert "it cannot be read as a picture" in found["warnings"][0]


def test_both_programs_have_one_version() -> None:
    assert rp_handler.__version__ == runpod_comfy.__version__
