"""Outputs in buckets from the start of a process to its end: the command line and a worker."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from rp_handler.main import main
from tests.graphs import SAVE, node, saving, write_graph
from tests.http_server import Answer, cut
from tests.model_hosts.gcs import GcsDouble
from tests.model_hosts.s3 import KEY_ID, SECRET_KEY, S3Double
from tests.program import start_python

# Each test starts an engine.
pytestmark = pytest.mark.slow

_JOB = {"id": "job-1", "input": {"workflow": "example"}}
_NAME = "comfy/outputs/demo/job-1/x_00001.txt"
_BUSY = Answer(status=503, body=b"{}")


@pytest.fixture(autouse=True)
def _in_an_image(
    home: Path, tmp_path: Path, storage: GcsDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {
        "COMFY_BAKED_HOME": str(home),
        "GCS_BUCKET": "results",
        "GCS_RETRY_BASE_SLEEP": "0.01",
        "GOOGLE_APPLICATION_CREDENTIALS": str(storage.key_file()),
        "STORAGE_EMULATOR_HOST": storage.url,
        "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
        "RUNPOD_SKIP_GPU_CHECK": "true",
    }
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    # As where the user sets none.
    monkeypatch.delenv("OUTPUT_MODE")
    (tmp_path / "workflows").mkdir()
    write_graph(tmp_path / "workflows/example.json", SAVE)
    monkeypatch.chdir(tmp_path)


@contextlib.contextmanager
def _worker(job: object = _JOB, **variables: str) -> Iterator[subprocess.Popen[str]]:
    process = start_python(
        *("-m", "rp_handler.main", "--test_input", json.dumps(job)),
        variables=variables,
        stderr=subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _ended(code: int, job: object = _JOB, **variables: str) -> str:
    """What a worker said that runs the job."""
    with _worker(job, **variables) as process:
        said, _ = process.communicate(timeout=120)
    assert process.returncode == code, said
    assert "PRIVATE KEY" not in said
    assert SECRET_KEY not in said
    assert "Traceback" not in said
    return said


def test_a_worker_delivers_to_the_bucket_by_default(storage: GcsDouble) -> None:
    said = _ended(0)
    assert f"'uri': 'gs://results/{_NAME}'" in said
    (found,) = storage.objects("results")
    assert (found["name"], found["content"]) == (_NAME, b"hello")
    assert found["contentType"] == "text/plain"
    _ended(0)
    assert storage.objects("results") == [found]


def test_a_busy_service_is_asked_again(storage: GcsDouble) -> None:
    storage.answer_next_uploads(_BUSY, _BUSY)
    _ended(0)
    assert [it["name"] for it in storage.objects("results")] == [_NAME]


def test_a_worker_that_is_killed_in_an_upload_leaves_no_second_object(
    storage: GcsDouble,
) -> None:
    graph = {**SAVE, "2": saving("bye", prefix="y")}
    write_graph(Path("workflows/example.json"), graph)
    storage.answer_next_uploads(None, cut(b"{}", 0, stalls=True))
    with _worker() as process:
        while not storage.objects("results"):
            assert process.poll() is None
            time.sleep(0.05)
    (first,) = storage.objects("results")
    storage.answer_next_uploads()
    _ended(0)
    found = {it["name"]: it for it in storage.objects("results")}
    assert found[first["name"]] == first
    assert {name.rpartition("/")[2]: it["content"] for name, it in found.items()} == {
        "x_00001.txt": b"hello",
        "y_00001.txt": b"bye",
    }


def test_an_output_is_in_the_bucket_while_the_job_runs_and_is_uploaded_once(
    storage: GcsDouble,
) -> None:
    graph = {
        "1": saving("hello"),
        "2": node("FixtureSleep", until=str(Path("wake").absolute()), after=["1", 0]),
        "3": saving("bye", after=["2", 0]),
    }
    job = {"id": "job-1", "input": {"workflow": graph, "events": ["outputs"]}}
    with _worker(job=job) as process:
        while not storage.objects("results"):
            assert process.poll() is None
            time.sleep(0.05)
        (early,) = storage.objects("results")
        assert (early["name"], early["content"]) == (_NAME, b"hello")
        Path("wake").touch()
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert f"'uri': 'gs://results/{_NAME}'" in said
    found = {it["name"]: it for it in storage.objects("results")}
    assert found.pop(_NAME) == early
    assert [it["content"] for it in found.values()] == [b"bye"]
    assert sum("uploadType" in str(it["path"]) for it in storage.asked) == 2


@pytest.mark.parametrize(
    ("variables", "code", "sentence"),
    [
        ({"GCS_BUCKET": ""}, 2, "outputs go to Google Cloud Storage, but GCS_BUCKET is not set"),
        ({"GCS_BUCKET": "resulst"}, 3, "the bucket resulst is not there"),
        ({"GOOGLE_APPLICATION_CREDENTIALS": "/none.json"}, 3, "names a file that cannot be read"),
        ({"GOOGLE_APPLICATION_CREDENTIALS": ""}, 3, "gs://results needs an account"),
        ({"GCS_CREDENTIALS_JSON": '"PRIVATE KEY'}, 2, "GCS_CREDENTIALS_JSON is not the JSON"),
        ({"GCS_RETRIES": "often"}, 2, "GCS_RETRIES is 'often'"),
        ({"OUTPUT_MODE": "s3"}, 2, "BUCKET_ENDPOINT_URL"),
        ({"OUTPUT_MODE": "files"}, 2, "not available in a worker"),
    ],
)
def test_a_fault_of_the_settings_ends_a_worker_before_it_takes_jobs(
    variables: dict[str, str],
    code: int,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    assert main(["--test_input", json.dumps(_JOB)]) == code
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("error: ") == said.count("  → ") == 1
    assert "PRIVATE KEY" not in said
    assert "Ready for jobs" not in said


def test_a_bucket_that_is_not_checked_fails_the_job() -> None:
    said = _ended(1, GCS_BUCKET="resulst", GCS_VALIDATE="false")
    assert "the bucket resulst is not there" in said


def _s3_variables(amazon: S3Double) -> dict[str, str]:
    return {
        "GCS_BUCKET": "",
        "BUCKET_ENDPOINT_URL": f"{amazon.url}/results",
        "BUCKET_ACCESS_KEY_ID": KEY_ID,
        "BUCKET_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_REGION": amazon.region,
    }


def test_a_fault_of_s3_ends_a_worker_before_it_takes_jobs(amazon: S3Double) -> None:
    variables = _s3_variables(amazon)
    for code, changed, sentence in (
        (3, {"BUCKET_ENDPOINT_URL": f"{amazon.url}/resulst"}, "the bucket resulst is not there"),
        (2, {"BUCKET_SECRET_ACCESS_KEY": ""}, "BUCKET_SECRET_ACCESS_KEY is not set"),
        (3, {"BUCKET_SECRET_ACCESS_KEY": "other"}, "refuses the key"),
    ):
        said = _ended(code, **{**variables, **changed})
        assert sentence in said
        assert "Ready for jobs" not in said


def test_a_busy_s3_is_asked_again(amazon: S3Double) -> None:
    amazon.upload_answers = [Answer(status=503), Answer(status=503)]
    _ended(0, **_s3_variables(amazon))
    assert amazon.upload_answers == []
    listed = amazon.client.list_objects_v2(Bucket="results")["Contents"]
    assert [it["Key"] for it in listed] == [_NAME]


def test_a_worker_delivers_to_s3_with_the_variables_of_worker_comfyui(amazon: S3Double) -> None:
    variables = _s3_variables(amazon)
    said = _ended(0, **variables)
    found = re.search(r"'type': 's3_url', 'data': '([^']+)'", said)
    assert found, said
    assert requests.get(found[1], timeout=10).content == b"hello"
    _ended(0, **variables)
    listed = amazon.client.list_objects_v2(Bucket="results")["Contents"]
    assert [it["Key"] for it in listed] == [_NAME]


def test_a_job_has_its_own_bucket_if_the_worker_allows_it(
    amazon: S3Double, storage: GcsDouble
) -> None:
    config = {
        "accessId": KEY_ID,
        "accessSecret": SECRET_KEY,
        "bucketName": "results",
        "endpointUrl": amazon.url,
    }
    variables = {"COMFY_INPUT_PRIVATE_ADDRESSES": "1", "AWS_REGION": amazon.region}
    job = {**_JOB, "s3Config": config}
    said = _ended(0, job, **variables)
    assert "The job's s3Config was ignored" in said
    assert [it["name"] for it in storage.objects("results")] == [_NAME]
    said = _ended(0, job, **variables, COMFY_JOB_S3_CONFIG="1")
    assert "'type': 's3_url'" in said
    listed = amazon.client.list_objects_v2(Bucket="results")["Contents"]
    assert [it["Key"] for it in listed] == [_NAME]
    said = _ended(1, job, AWS_REGION=amazon.region, COMFY_JOB_S3_CONFIG="1")
    assert "not of the public internet" in said
    assert "COMFY_JOB_S3_CONFIG is 'x'" in _ended(2, job, COMFY_JOB_S3_CONFIG="x")


def test_a_result_that_is_too_large_does_not_vanish(storage: GcsDouble) -> None:
    graph = {"1": saving("x" * 22_500_000)}
    write_graph(Path("workflows/example.json"), graph)
    said = _ended(1, OUTPUT_MODE="base64", GCS_BUCKET="")
    assert "The result is 30.0 MB as JSON; RunPod accepts 10 MB." in said
    assert f"gs://results/{_NAME}" in _ended(0, OUTPUT_MODE="base64")
    (found,) = storage.objects("results")
    assert found["size"] == "22500000"


def _run(graph: object, *arguments: str) -> int:
    path = write_graph(Path("graph.json"), graph)
    return main(["--workflow", path, *arguments])


def test_the_command_line_says_where_the_objects_are(
    storage: GcsDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(SAVE) == 0
    (found,) = storage.objects("results")
    assert re.fullmatch(
        r"comfy/outputs/demo/\d{8}-\d{6}-graph-[0-9a-f]{8}/x_00001\.txt", found["name"]
    )
    printed = capsys.readouterr().out.strip()
    assert printed.startswith(f"gs://results/{found['name']}  5 bytes  sha256:")
    assert not Path("outputs").exists()


def test_a_signed_url_is_in_the_result_and_in_the_verbose_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GCS_SIGNED_URL_TTL", "60")
    assert _run(SAVE, "--json", "--verbose") == 0
    printed = capsys.readouterr()
    (entry,) = json.loads(printed.out)["files"]
    assert requests.get(entry["url"], timeout=10).content == b"hello"
    assert entry["url"] in printed.err
    assert _run(SAVE, "--json") == 0
    assert "X-Goog-Signature" not in capsys.readouterr().err


def test_an_upload_that_fails_is_a_failure_to_try_again(
    storage: GcsDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    storage.answer_next_uploads(*[_BUSY] * 9)
    assert _run(SAVE, "--json") == 1
    failure: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert failure["error_type"] == "output_upload_failed"
    assert failure["retryable"] is True
    assert failure["details"]["uri"].startswith("gs://results/comfy/outputs/demo/")


def test_custom_nodes_do_not_see_the_keys(
    storage: GcsDouble, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GCS_CREDENTIALS_JSON", storage.key_file().read_text())
    monkeypatch.setenv("BUCKET_SECRET_ACCESS_KEY", SECRET_KEY)
    names = ("GCS_CREDENTIALS_JSON", "BUCKET_SECRET_ACCESS_KEY")
    graph = {name: node("FixtureEnvironment", name=name) for name in names}
    assert _run(graph, "--output", "base64") == 0
    texts = json.loads(capsys.readouterr().out)["text"]
    assert [it["text"] for it in texts] == ["(not set)", "(not set)"]


def test_an_interrupted_upload_ends_in_time(storage: GcsDouble) -> None:
    path = write_graph(Path("graph.json"), SAVE)

    def seconds() -> float:
        storage.answer_next_uploads(cut(b"{}", 0, stalls=True))
        asked = len(storage.asked)
        process = start_python("-m", "rp_handler.main", "--workflow", path, stderr=subprocess.PIPE)
        with process:
            while not any("uploadType" in str(it["path"]) for it in storage.asked[asked:]):
                assert process.poll() is None
                time.sleep(0.05)
            began = time.monotonic()
            process.terminate()
            _, told = process.communicate(timeout=60)
            ended = time.monotonic()
        assert process.returncode == 130
        assert "Traceback" not in told
        return ended - began

    # A busy machine may be late once; what takes longer by itself does so each time.
    assert any(seconds() < 5 for _ in range(3))
