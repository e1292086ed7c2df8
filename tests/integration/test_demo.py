"""The demo version on real ComfyUI: what a user sees right after cloning the repository."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.program import ROOT, Program

WORKFLOWS = ROOT / "workflows"
RUN = "rp_handler.main"


@pytest.fixture(scope="module")
def demo(program: Program, place: Path) -> Program:
    """The program beside a realized demo, which COMFY_HOME names."""
    realized = Program(
        folder=place, variables={"COMFY_HOME": str(place / "home"), "OUTPUT_MODE": "files"}
    )
    done = realized("realize", "--spec", ROOT / "versions" / "demo.json", "--json")
    assert done.document()["changed"]
    return realized


def _example(place: Path, name: str, **changes: Any) -> Path:
    graph = json.loads((WORKFLOWS / "example.json").read_text())
    graph["1"]["inputs"] |= {"width": 64, "height": 64, **changes}
    path = place / f"{name}.json"
    path.write_text(json.dumps(graph))
    return path


def _run(demo: Program, workflow: Path, *options: str) -> dict[str, Any]:
    return demo("--workflow", workflow, "--json", *options, module=RUN).document()


def _engines_of(home: Path) -> list[str]:
    """The lines of `ps` for the processes that run this home's core."""
    listed = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,args="], capture_output=True, text=True, check=True
    )
    core = str(home / "ComfyUI" / "main.py")
    return [line for line in listed.stdout.splitlines() if core in line]


def test_run_makes_a_picture_with_real_content(demo: Program, place: Path) -> None:
    spec = ROOT / "versions" / "demo.json"
    done = demo("run", "--spec", spec, "--workflow", WORKFLOWS / "example.json", "--json")
    result = done.document()
    (image,) = result["images"]
    path = place / image["path"]
    picture = Image.open(path)
    assert picture.format == "PNG"
    assert min(picture.size) >= 256
    assert len(picture.convert("RGB").getcolors(2**24) or []) > 1000
    assert image["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert json.loads((path.parent / "result.json").read_text()) == result
    assert result["version"]["comfyui"] == "0.3.75"


def _sha256(demo: Program, workflow: Path) -> str:
    (image,) = _run(demo, workflow)["images"]
    return str(image["sha256"])


@pytest.fixture(scope="module")
def first(demo: Program, place: Path) -> str:
    """The sha256 of the small example's picture."""
    return _sha256(demo, _example(place, "first"))


def test_another_seed_or_palette_gives_another_picture(
    demo: Program, place: Path, first: str
) -> None:
    assert _sha256(demo, _example(place, "seed", seed=23)) != first
    assert _sha256(demo, _example(place, "palette", palette="ember")) != first


def test_the_same_workflow_gives_the_same_bytes_and_base64_prints_them_in_one_document(
    demo: Program, place: Path, first: str
) -> None:
    done = demo("--workflow", _example(place, "again"), "--output", "base64", module=RUN)
    (image,) = done.document()["images"]
    content = base64.b64decode(image["data"])
    assert image["sha256"] == hashlib.sha256(content).hexdigest() == first
    assert Image.open(io.BytesIO(content)).size == (256, 128)


def test_the_empty_workflow_is_a_smoke_test(demo: Program) -> None:
    done = demo("--workflow", WORKFLOWS / "minimal.json", module=RUN)
    assert done.code == 0, done.err
    assert "ComfyUI 0.3.75 (demo)" in done.out
    assert "torch 2.11.0" in done.out


def test_the_check_recorded_every_node(demo: Program) -> None:
    manifest = json.loads((Path(demo.variables["COMFY_HOME"]) / ".comfy_env").read_text())
    assert manifest["check"]["node_classes"]["marbled_paper"] == ["MarbledPaper"]
    assert "upscale_models" in manifest["check"]["folder_names"]
    assert "--disable-auto-launch" in manifest["check"]["flags"]
    assert manifest["cuda"] == ("13.0" if sys.platform == "linux" else None)


_FOLDERS = """
import json, os, sys
import folder_paths
from utils.extra_config import load_extra_path_config

load_extra_path_config("extra_model_paths.yaml")
directories = {name: paths for name, (paths, _) in folder_paths.folder_names_and_paths.items()}
for name, paths in directories.items():
    assert len({os.path.realpath(path) for path in paths}) == len(paths), (name, paths)
(model,) = folder_paths.get_filename_list("upscale_models")
below = os.path.join(folder_paths.models_dir, "upscale_models", model)
assert folder_paths.get_full_path("upscale_models", model) == below
print(os.path.realpath(below))
assert "v1-inference.yaml" in folder_paths.get_filename_list("configs")
"""


def test_both_ways_to_a_model_lead_to_the_same_file(demo: Program, place: Path) -> None:
    home = place / "home"
    asked = subprocess.run(
        [home / ".venv/bin/python", "-c", _FOLDERS],
        cwd=home / "ComfyUI",
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.returncode == 0, asked.stderr
    (model,) = (path for path in (home / "models/upscale_models").iterdir() if path.is_symlink())
    assert Path(asked.stdout.strip()) == model.resolve()


def test_an_unknown_node_class_is_named_with_the_nearest(demo: Program, place: Path) -> None:
    graph = json.loads((WORKFLOWS / "example.json").read_text())
    graph["1"]["class_type"] = "MarbeldPaper"
    (place / "typo.json").write_text(json.dumps(graph))
    told = demo("--workflow", place / "typo.json", module=RUN).failed_with(2)
    assert "MarbeldPaper" in told
    assert "MarbledPaper" in told


def test_a_missing_model_is_named(demo: Program, place: Path) -> None:
    graph = json.loads((WORKFLOWS / "example.json").read_text())
    graph["2"]["inputs"]["model_name"] = "4x-nowhere.pth"
    (place / "nowhere.json").write_text(json.dumps(graph))
    told = demo("--workflow", place / "nowhere.json", module=RUN).failed_with(3)
    assert "4x-nowhere.pth" in told


def test_a_node_that_raises_fails_the_run_in_plain_words(demo: Program, place: Path) -> None:
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "broken.png"}},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }
    (Path(demo.variables["COMFY_HOME"]) / "input" / "broken.png").write_bytes(b"no picture")
    (place / "raises.json").write_text(json.dumps(graph))
    told = demo("--workflow", place / "raises.json", module=RUN).failed_with(1)
    assert "LoadImage" in told


def test_a_taken_port_is_named(demo: Program, place: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = demo("--workflow", _example(place, "port"), "--port", port, module=RUN)
    assert port in done.failed_with(3)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_engine_outlives_the_program(demo: Program, place: Path, number: signal.Signals) -> None:
    home = Path(demo.variables["COMFY_HOME"])
    with demo.start("--workflow", _example(place, "cut"), module=RUN) as process:
        while not _engines_of(home):
            assert process.poll() is None
            time.sleep(0.05)
        os.kill(process.pid, number)
        process.communicate()
    assert process.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 130)
    deadline = time.monotonic() + 120
    while _engines_of(home) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _engines_of(home) == []


def test_a_second_realize_does_nothing(demo: Program) -> None:
    done = demo("realize", "--spec", ROOT / "versions" / "demo.json", "--json")
    assert not done.document()["changed"]


_LOUD = """
import logging, sys
logging.getLogger().setLevel(logging.CRITICAL)
logging.getLogger().handlers[0].setFormatter(logging.Formatter("[INFO] %(message)s"))
sys.stderr = None
from .missing import Node
"""
_SCHEMA = """
from comfy_api.latest import ComfyExtension, io

class Painter(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        {body}

    @classmethod
    def execute(cls):
        return io.NodeOutput()

class Extension(ComfyExtension):
    async def get_node_list(self):
        return [Painter]

async def comfy_entrypoint():
    return Extension()
"""
_FINE_SCHEMA = "return io.Schema(node_id='Painter', inputs=[], outputs=[])"


def test_nodes_that_fail_in_a_real_core_are_seen_and_only_those(demo: Program, place: Path) -> None:
    home = Path(demo.variables["COMFY_HOME"])
    nodes = {
        "bad_entry": _SCHEMA.format(body="raise ValueError('no schema')"),
        "bad_start": "NODE_CLASS_MAPPINGS = {}",
        "fine_entry": _SCHEMA.format(body=_FINE_SCHEMA),
        "loud": _LOUD,
        "web": "WEB_DIRECTORY = './js'",
    }
    folders = {name: home / "ComfyUI/custom_nodes" / name for name in nodes}
    try:
        for name, text in nodes.items():
            (folders[name] / "js").mkdir(parents=True)
            (folders[name] / "__init__.py").write_text(text)
        (folders["bad_start"] / "prestartup_script.py").write_text("1 / 0\n")
        python = home / ".venv/bin/python"
        options = ("--home", home, "--python", python, "--report", place / "report.json")
        checked = demo(*options, module="rp_handler.check.run")
    finally:
        for folder in folders.values():
            shutil.rmtree(folder, ignore_errors=True)
    assert checked.code == 1
    told = [line for line in checked.err.splitlines() if line.startswith("  the custom node ")]
    wanted = [
        "bad_entry failed in its comfy_entrypoint: custom_nodes/bad_entry/__init__.py, line 7: Val",
        "bad_start failed in its prestartup_script.py: custom_nodes/bad_start/prestartup_script.py",
        "loud failed to import: custom_nodes/loud/__init__.py, line 6: ModuleNotFoundError: ",
    ]
    assert len(told) == len(wanted)
    for line, words in zip(told, wanted, strict=True):
        assert line.startswith(f"  the custom node {words}")


def test_an_engine_that_dies_at_start_shows_its_last_lines(demo: Program, place: Path) -> None:
    home = Path(demo.variables["COMFY_HOME"])
    marker = home / ".comfy_env"
    manifest = json.loads(marker.read_text())
    before = marker.read_bytes()
    marker.write_text(json.dumps(manifest | {"comfy_args": ["--no-such-flag"]}))
    try:
        told = demo("--workflow", _example(place, "dies"), module=RUN).failed_with(3)
    finally:
        marker.write_bytes(before)
    assert "unrecognized arguments: --no-such-flag" in told
