"""The chapters of the user's guide on the handler, GCS and RunPod, typed as they are printed, on
this machine; tests/docker/test_guide.py types those for an image.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from tests.graphs import saving, write_graph
from tests.http_server import Answer
from tests.model_hosts.gcs import GcsDouble, gcs
from tests.real_packages import held
from tests.scripts.guide import Shell, make_project, typed
from tests.specs import FIXTURE_CORE, core_repository, write_spec

# A version is realized, and each test starts an engine.
pytestmark = pytest.mark.slow

BASE64 = """\
./scripts/run_handler_local.sh \\
  --version-id "$COMFY_VERSION_NAME" \\
  --workflow ./workflows/example.json \\
  --output base64"""
NEW_OPTIONS = """\
./scripts/run_handler_local.sh \\
  --version-id comfy-comfytest \\
  --workflow ./workflows/minimal.json \\
  --models-dir "$COMFY_HOME/models" \\
  --output base64
"""
BY_DEFAULT = BASE64.removesuffix(" \\\n  --output base64")
SMOKE_TEST = """\
echo '{}' > workflows/minimal.json
python -m rp_handler.main \\
  --version-id "${COMFY_VERSION_NAME}" \\
  --workflow workflows/minimal.json \\
  --output gcs | cat"""
HANDLER = """\
python -m rp_handler.main \\
  --version-id "${COMFY_VERSION_NAME}" \\
  --workflow workflows/example.json"""

VERSION = "comfy-comfytest"
_OURS = ("COMFY_", "GCS_", "GOOGLE_", "BUCKET_", "AWS_", "RUNPOD_")
_BUSY = Answer(status=503, body=b"{}")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """The guide's project with a version of the fixture core, and a cache of its own."""
    folder = tmp_path_factory.mktemp("guide")
    make_project(folder / "work")
    core = core_repository(folder / "core", FIXTURE_CORE, "aiohttp\npyyaml\n")
    options = {"constraints": held()}
    write_spec(folder / "work/versions", VERSION, core=core.at(), nodes={}, options=options)
    (folder / "work/workflows").mkdir()
    write_graph(folder / "work/workflows/example.json", {"1": saving("hello")})
    write_graph(folder / "work/workflows/minimal.json", {})
    with gcs(folder / "gcs") as storage:
        yield Shell(
            folder=folder / "work",
            environment={
                "PATH": f"{folder / 'work/.venv/bin'}{os.pathsep}{os.environ['PATH']}",
                "COMFY_HOME": str(folder / "comfy"),
                "COMFY_CACHE_ROOT": str(folder / "cache"),
                "COMFY_VERSION_NAME": VERSION,
                "STORAGE_EMULATOR_HOST": storage.url,
            },
        )


@pytest.fixture
def storage(project: Shell) -> GcsDouble:
    """Google Cloud Storage with a private bucket `results`."""
    storage = GcsDouble(project.environment["STORAGE_EMULATOR_HOST"], project.folder.parent / "gcs")
    storage.reset()
    storage.bucket("results", "private")
    return storage


@pytest.fixture
def guide(project: Shell, storage: GcsDouble, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A shell with the variables that the guide names for GCS, where it gives no default."""
    for name in list(os.environ):
        if name.startswith(_OURS) or name in ("MODELS_DIR", "LOCK_PATH", "OUTPUT_MODE"):
            monkeypatch.delenv(name)
    variables = {
        "GCS_BUCKET": "results",
        "GOOGLE_APPLICATION_CREDENTIALS": str(storage.key_file()),
        "GOOGLE_CLOUD_PROJECT": "my-project",
    }
    return replace(project, environment={**project.environment, **variables})


def asked(storage: GcsDouble) -> str:
    """The addresses of all requests that it got."""
    return "\n".join(str(request["path"]) for request in storage.asked)


def hello(document: str) -> bytes:
    """The content of the one file in a result with base64."""
    (file,) = json.loads(document)["files"]
    return base64.b64decode(file["data"])


def test_base64_needs_no_cloud_and_is_on_standard_output_or_in_a_file(guide: Shell) -> None:
    for name in ("GCS_BUCKET", "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT"):
        del guide.environment[name]
    assert hello(typed(guide, BASE64)[0]) == b"hello"
    assert typed(guide, f"{BASE64} > result.json")[0] == ""
    assert hello((guide.folder / "result.json").read_text()) == b"hello"
    guide.environment["OUTPUT_MODE"] = "base64"
    assert hello(typed(guide, BY_DEFAULT)[0]) == b"hello"


def test_the_example_with_a_models_folder_reports_what_there_is(guide: Shell) -> None:
    report = json.loads(typed(guide, NEW_OPTIONS)[0])
    assert report["version"]["id"] == VERSION
    assert report["counts"]["nodes"] > 0


@pytest.mark.parametrize("command", [BY_DEFAULT, f"{HANDLER} --output gcs | cat", HANDLER])
def test_the_result_goes_to_gcs_by_default_and_the_answer_has_its_path(
    guide: Shell, storage: GcsDouble, command: str
) -> None:
    out, err = typed(guide, command)
    (found,) = storage.objects("results")
    assert (found["content"], found["contentType"]) == (b"hello", "text/plain")
    assert found["name"].startswith(f"comfy/outputs/{VERSION}/")
    assert "predefinedAcl" not in asked(storage)
    assert out.startswith(f"gs://results/{found['name']}  5 bytes  sha256:")
    # Neither public nor signed.
    assert "http" not in out
    assert "X-Goog-Signature" not in err


def test_the_smoke_test_checks_the_bucket_and_uploads_nothing(
    guide: Shell, storage: GcsDouble
) -> None:
    out, _ = typed(guide, SMOKE_TEST)
    assert "node classes" in out
    assert storage.objects("results") == []
    assert "/iam/testPermissions" in asked(storage)
    guide.environment["GCS_VALIDATE"] = "false"
    storage.reset()
    typed(guide, SMOKE_TEST)
    assert storage.asked == []


@pytest.mark.parametrize("command", [BY_DEFAULT, HANDLER])
def test_a_signed_url_is_printed_in_the_verbose_log(
    guide: Shell, storage: GcsDouble, command: str
) -> None:
    guide.environment["GCS_SIGNED_URL_TTL"] = "60"
    assert "X-Goog-Signature" not in typed(guide, command)[1]
    out, err = typed(guide, f"{command} --verbose --json")
    url = re.search(r"for 60 s at (http\S+)", err)
    assert url, err
    assert requests.get(url[1], timeout=10).content == b"hello"
    assert json.loads(out)["files"][0]["url"] == url[1]


def test_the_variables_of_gcs_do_what_the_guide_says(guide: Shell, storage: GcsDouble) -> None:
    guide.environment.update(GCS_PREFIX="mine/and yours", GCS_PUBLIC="true")
    out, _ = typed(guide, f"{BY_DEFAULT} --json")
    (found,) = storage.objects("results")
    assert found["name"].startswith(f"mine/and yours/{VERSION}/")
    assert "predefinedAcl=publicRead" in asked(storage)
    (entry,) = json.loads(out)["files"]
    assert requests.get(entry["url"], timeout=10).content == b"hello"


def test_an_upload_is_tried_three_times_unless_gcs_retries_says_otherwise(
    guide: Shell, storage: GcsDouble
) -> None:
    storage.answer_next_uploads(_BUSY, _BUSY)
    typed(guide, BY_DEFAULT)
    assert len(storage.objects("results")) == 1
    guide.environment["GCS_RETRY_BASE_SLEEP"] = "0"
    for retries, failures in (("", 3), ("1", 1), ("4", 4)):
        guide.environment["GCS_RETRIES"] = retries
        storage.answer_next_uploads(*[_BUSY] * failures)
        code, _, err = guide.type(BY_DEFAULT)
        assert (code, "cannot be written" in err) == (1, True), err
    assert len(storage.objects("results")) == 1


def test_what_is_missing_for_gcs_is_named_before_comfyui_starts(
    guide: Shell, storage: GcsDouble
) -> None:
    stranger = storage.key_file("stranger@comfy.iam.gserviceaccount.com", is_member=False)
    for variable, value, code, named in (
        ("GCS_BUCKET", "", 2, "GCS_BUCKET is not set"),
        ("GCS_BUCKET", "resulst", 3, "the bucket resulst is not there"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "", 3, "Set GOOGLE_APPLICATION_CREDENTIALS"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/no/key.json", 3, "a file that cannot be read"),
        ("GOOGLE_APPLICATION_CREDENTIALS", str(stranger), 3, "may not write to gs://results"),
    ):
        broken = replace(guide, environment={**guide.environment, variable: value})
        ended, out, err = broken.type(BY_DEFAULT)
        assert (ended, out) == (code, ""), err
        assert named in err
        assert "Starting ComfyUI" not in err
        assert "Traceback" not in err


def test_a_lock_may_be_named_instead_of_the_version(guide: Shell) -> None:
    typed(guide, BASE64)
    del guide.environment["COMFY_VERSION_NAME"]
    command = "python -m rp_handler.main --workflow workflows/example.json --output base64"
    lock = guide.folder / f"lockfiles/comfy-{VERSION}.lock.json"
    assert hello(typed(guide, f"LOCK_PATH='{lock}' {command}")[0]) == b"hello"
    other = Path(guide.folder, "other.lock.json")
    other.write_text(lock.read_text().replace('"version_id": "', '"version_id": "x-'))
    code, _, err = guide.type(f"LOCK_PATH='{other}' {command}")
    assert (code, "other.lock.json" in err) == (2, True), err


def test_the_models_folder_is_that_of_comfy_home_unless_named(guide: Shell, tmp_path: Path) -> None:
    typed(guide, BASE64)
    loader = {"1": {"class_type": "FixtureLoader", "inputs": {"model_name": "m.pth"}}}
    loader["2"] = {"class_type": "FixtureSave", "inputs": saving(["1", 0])["inputs"]}
    workflow = write_graph(tmp_path / "load.json", loader)
    model = f"{guide.environment['COMFY_HOME']}/models/upscale_models/m.pth"
    command = BASE64.replace("./workflows/example.json", workflow)
    assert guide.type(command)[0] != 0
    Path(model).parent.mkdir(exist_ok=True)
    Path(model).write_text("weights")
    assert hello(typed(guide, command)[0]) == b"m.pth"
    other = tmp_path / "models/upscale_models/m.pth"
    other.parent.mkdir(parents=True)
    Path(model).rename(other)
    assert hello(typed(guide, f"{command} --models-dir '{tmp_path}/models'")[0]) == b"m.pth"
    guide.environment["MODELS_DIR"] = f"{tmp_path}/models"
    assert hello(typed(guide, command)[0]) == b"m.pth"
