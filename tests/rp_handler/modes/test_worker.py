"""Jobs from a test and from the local API of RunPod's SDK; others are in test_control_plane.py."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import queue
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from comfy_home.layout import OBJECT_INFO_NAME
from comfy_home.lock_bytes import lock_digest
from comfy_home.manifest import CheckReport, Manifest, save_manifest
from rp_handler.engine.process import free_port
from tests.graphs import SAVE, node, write_graph
from tests.http_server import Answer, Request, serve
from tests.model_downloads import Served
from tests.model_downloads import serving as serving_model
from tests.program import start_python, wait_for
from tests.safetensors_bytes import safetensors

# Each test makes an environment or a home, or starts a worker.
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _in_an_image(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFY_BAKED_HOME", str(home))
    monkeypatch.setenv("OUTPUT_MODE", "base64")
    for name in ("RUNPOD_SKIP_AUTO_SYSTEM_CHECKS", "RUNPOD_SKIP_GPU_CHECK"):
        monkeypatch.setenv(name, "true")
    (tmp_path / "workflows").mkdir()
    write_graph(tmp_path / "workflows/example.json", SAVE)
    monkeypatch.chdir(tmp_path)


@contextlib.contextmanager
def worker(*arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    process = start_python(
        "-m", "rp_handler.main", *arguments, variables=variables, stderr=subprocess.STDOUT
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def serving(**variables: str) -> Iterator[tuple[subprocess.Popen[str], Callable[[Any], Any]]]:
    """A worker behind the SDK's local API, and what posts an input to it and returns the answer."""
    port = free_port()

    def post(document: Any) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/runsync",
            data=json.dumps({"input": document}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as response:
            return json.load(response)

    arguments = ("--rp_serve_api", "--rp_api_host", "127.0.0.1", "--rp_api_port", str(port))
    with worker(*arguments, **variables) as process:
        yield process, post


def test_a_test_input_is_run_and_ends_the_process() -> None:
    job = json.dumps({"input": {"workflow": "example"}})
    with worker("--test_input", job) as process:
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert base64.b64encode(b"hello").decode() in said
    assert list(Path(tempfile.gettempdir()).iterdir()) == []


def test_a_test_input_that_fails_tells_why_and_fails_the_process() -> None:
    job = json.dumps({"input": {"workflow": "example", "timeout": 0}})
    with worker("--test_input", job) as process:
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "'timeout' must be more than 0" in said


def test_without_the_sdk_one_sentence_says_how_to_get_it() -> None:
    program = (
        "import sys; sys.modules['runpod'] = None; sys.argv[1:] = ['--test_input', '{}']; "
        "from rp_handler.main import main; sys.exit(main())"
    )
    process = start_python("-c", program, stderr=subprocess.STDOUT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 3, said
    assert "pip install 'runpod-comfy[worker]'" in said
    assert "Traceback" not in said


def test_the_sdks_own_server_answers_jobs_and_ends_in_time() -> None:
    with serving() as (it, post):
        wait_for(it.stdout, "Uvicorn running")
        for _ in range(2):
            answer = post({"workflow": SAVE})
            assert answer["status"] == "COMPLETED"
            (file,) = answer["output"]["files"]
            assert file["filename"] == "x_00001.txt"
            assert base64.b64decode(file["data"]) == b"hello"
        assert post({"workflow": {"1": {}}})["status"] == "FAILED"
        assert post({"workflow": {}})["output"]["counts"]["nodes"] > 10
        it.send_signal(signal.SIGTERM)
        said, _ = it.communicate(timeout=30)
        assert it.returncode == 0
    # Results are no matter for a log: RunPod cuts its lines, and pictures are long.
    assert base64.b64encode(b"hello").decode() not in said
    assert list(Path(tempfile.gettempdir()).iterdir()) == []


def test_results_have_provenance_where_the_worker_or_the_job_wants_it() -> None:
    with serving(COMFY_PROVENANCE="1", COMFY_IMAGE="sha256:" + "5e" * 32) as (process, post):
        wait_for(process.stdout, "Uvicorn running")
        first, second = (
            post({"workflow": SAVE, **asked})["output"] for asked in ({}, {"provenance": False})
        )
    assert first["provenance"]["version"]["image"] == "sha256:" + "5e" * 32
    assert first["version"]["image"] == second["version"]["image"] == "sha256:" + "5e" * 32
    assert "provenance" not in second


def test_a_worker_warms_up_lists_what_it_has_and_posts_results_to_a_webhook() -> None:
    heard: queue.SimpleQueue[Request] = queue.SimpleQueue()

    def answer(request: Request) -> Answer:
        heard.put(request)
        return Answer()

    with (
        serve(answering=answer) as url,
        serving(COMFY_WARMUP_WORKFLOW="example", COMFY_WEBHOOK_URL=url) as (process, post),
    ):
        wait_for(process.stdout, "The warm-up took")
        wait_for(process.stdout, "Uvicorn running")
        assert post({"list": "workflows"})["output"] == {"workflows": ["example"]}
        assert json.loads(heard.get(timeout=30).body)["type"] == "job.completed"
        result = post({"workflow": "example"})["output"]
        (file,) = result["files"]
        assert base64.b64decode(file["data"]) == b"hello"
        assert json.loads(heard.get(timeout=30).body)["data"]["output"] == result
        assert post({"list": "all"})["status"] == "FAILED"
        assert json.loads(heard.get(timeout=30).body)["type"] == "job.failed"


def test_a_job_brings_its_model_and_the_next_has_to_bring_it_too(
    home: Path, tmp_path: Path
) -> None:
    check = CheckReport(
        comfyui_version="1",
        node_classes={},
        folder_names={"upscale_models": ["upscale_models"]},
        flags=[],
        model_inputs={"FixtureModel": {"name": ["upscale_models"]}},
    )
    save_manifest(home, Manifest(version_id="demo", complete=True, check=check))
    classes = {"FixtureModel": {"input": {"required": {"name": [[], {}]}}, "output_node": True}}
    (home / OBJECT_INFO_NAME).write_text(json.dumps(classes))
    content = safetensors(b" brought")
    path, sha256 = "upscale_models/x.safetensors", hashlib.sha256(content).hexdigest()
    variables = {
        "COMFY_JOB_MODELS": "127.0.0.1",
        "COMFY_INPUT_PRIVATE_ADDRESSES": "1",
        "COMFY_CACHE_MODELS": str(tmp_path / "store"),
    }
    with serving_model(x=Served(content=content)) as url, serving(**variables) as (process, post):
        wait_for(process.stdout, "Uvicorn running")
        job = {
            "workflow": {"1": node("FixtureModel", name="x.safetensors")},
            "models": [{"source": f"{url}/x", "target_path": path}],
        }
        for _ in range(2):
            output = post(job)["output"]
            assert output["text"] == [{"node": "1", "text": "brought"}]
            assert output["models"] == [{"path": path, "sha256": sha256}]
        listed = post({"list": "models"})["output"]
        assert listed == {"models": {}, "job_models": [{"path": path, "sha256": sha256}]}
        without = post({**job, "models": []})
        assert without["status"] == "FAILED"
        assert "x.safetensors" in without["error"]
        source = "https://elsewhere.test/x"
        other = post({**job, "models": [{"source": source, "target_path": path}]})
        assert "models[0].source: models from elsewhere.test are not allowed" in other["error"]


def test_a_job_that_is_not_strict_runs_the_valid_part_of_its_graph(home: Path) -> None:
    check = CheckReport(comfyui_version="1", node_classes={}, folder_names={}, flags=[])
    save_manifest(home, Manifest(version_id="demo", complete=True, check=check))
    text = ["STRING", {}]
    required = {
        "FixtureSave": dict.fromkeys(SAVE["1"]["inputs"], text),
        "FixtureRaise": {"kind": text, "message": text},
    }
    classes = {
        name: {"input": {"required": inputs}, "output_node": True}
        for name, inputs in required.items()
    }
    (home / OBJECT_INFO_NAME).write_text(json.dumps(classes))
    job = {"workflow": {**SAVE, "2": node("FixtureRaise", kind="ValueError")}}
    with serving() as (process, post):
        wait_for(process.stdout, "Uvicorn running")
        strict = post(job)
        assert strict["status"] == "FAILED"
        assert "message" in strict["error"]
        output = post({**job, "strict": False})["output"]
    (file,) = output["files"]
    assert base64.b64decode(file["data"]) == b"hello"
    (warning,) = output["warnings"]
    assert "node 2 (FixtureRaise)" in warning


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("COMFY_JOB_MODELS", "https://h", 'COMFY_JOB_MODELS has "https://h", which is not'),
        ("COMFY_JOB_MODELS_GB", "0", 'COMFY_JOB_MODELS_GB is "0".'),
        ("COMFY_WARMUP_WORKFLOW", "none", 'There is no workflow "none" here.'),
        ("COMFY_WARMUP_WORKFLOW", "https://example.org/x.json", "without a sha256 of its file"),
        ("COMFY_WEBHOOK_URL", "example.org", 'COMFY_WEBHOOK_URL is "example.org".'),
        ("COMFY_WEBHOOK_SECRET", "x", "COMFY_WEBHOOK_SECRET is not the secret of a webhook."),
        ("COMFY_PREFETCH_MODELS", "some", "COMFY_PREFETCH_MODELS is 'some'"),
        ("COMFY_LOCKED", "1", 'COMFY_LOCKED is "1".'),
        ("COMFY_JOB_ISOLATION", "full", 'COMFY_JOB_ISOLATION is "full".'),
        ("COMFY_IDLE_FREE_S", "soon", "COMFY_IDLE_FREE_S is 'soon', which is no number from 0"),
    ],
)
def test_a_variable_that_cannot_be_used_ends_the_worker_before_its_engine_starts(
    variable: str, value: str, message: str
) -> None:
    with worker("--rp_serve_api", **{variable: value}) as process:
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 2, said
    assert message in said
    assert "Starting ComfyUI" not in said


def test_a_port_in_use_ends_the_worker_before_its_engine_starts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        arguments = ("--rp_serve_api", "--rp_api_host", "127.0.0.1", "--rp_api_port", str(port))
        with worker(*arguments) as process:
            said, _ = process.communicate(timeout=60)
    assert process.returncode == 3, said
    assert f"port {port} of 127.0.0.1: it is in use." in said
    assert "PORT= of `make serve`" in said
    assert "Starting ComfyUI" not in said


def test_a_bucket_that_is_not_there_ends_the_worker_and_its_engine(home: Path) -> None:
    began = queue.SimpleQueue[str]()

    def answer(request: Request) -> Answer:
        began.put(request.path)
        ends = time.monotonic() + 60
        while not _engines(home) and time.monotonic() < ends:
            time.sleep(0.05)
        return Answer(status=404)

    with serve(answering=answer) as url:
        bucket = {
            "BUCKET_ENDPOINT_URL": f"{url}/outputs",
            "BUCKET_ACCESS_KEY_ID": "id of the key",
            "BUCKET_SECRET_ACCESS_KEY": "the key itself",
        }
        never = {"FIXTURE_NEVER_READY": "1"}
        with worker("--rp_serve_api", OUTPUT_MODE="s3", **bucket, **never) as process:
            said, _ = process.communicate(timeout=120)
    assert process.returncode in (2, 3), said
    assert "Starting ComfyUI" in said
    assert "Traceback" not in said
    assert "outputs" in said.splitlines()[-2]
    assert began.get(timeout=1)
    assert list(Path(tempfile.gettempdir()).iterdir()) == []
    assert not _engines(home)


def _engines(home: Path) -> list[Path]:
    """The processes that run something of this home."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        # Others come and go.
        with contextlib.suppress(OSError):
            if f"{home}/".encode() in path.read_bytes():
                found.append(path.parent)
    return found


def test_a_strict_worker_runs_with_its_lock_alone_and_says_so(home: Path) -> None:
    lock = {"lock_version": 2}
    manifest = Manifest(version_id="demo", lock_digest=lock_digest(lock), complete=True)
    save_manifest(home, manifest)
    (home / "lock.json").write_text(json.dumps(lock))
    job = json.dumps({"input": {"workflow": "example"}})
    with worker("--test_input", job, COMFY_LOCKED="strict") as process:
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert "'locked': 'strict'" in said
    (home / "ComfyUI/custom_nodes/late").mkdir()
    with worker("--test_input", job, COMFY_LOCKED="strict") as process:
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 4, said
    assert "late is not in the lock" in said
    assert "Starting ComfyUI" not in said
