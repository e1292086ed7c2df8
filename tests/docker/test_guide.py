"""The chapters of the user's guide on the image, GCS and RunPod, typed as they are printed.

`make run` and `image run` deliver to GCS as well. tests/scripts/test_guide_handler.py types the
commands for this machine.
"""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import docker
import pytest

from tests.git_repositories import new_repository
from tests.graphs import saving, write_graph
from tests.model_hosts.gcs import GcsDouble, gcs
from tests.real_packages import held
from tests.scripts.guide import Shell, make_project, typed
from tests.specs import FIXTURE_CORE, core_repository, write_spec

# Another name than the guide's: a person may have an image of that name here.
TAG = "runpod-comfy-test:local"
VERSION = "guide"

BUILD = f'./scripts/build_docker.sh --version "$COMFY_VERSION_NAME" --tag {TAG}'
HELP = f"""\
docker run --rm \\
  -e COMFY_VERSION_NAME="$COMFY_VERSION_NAME" \\
  -e GCS_BUCKET="$GCS_BUCKET" \\
  -e GOOGLE_APPLICATION_CREDENTIALS="/path/in/container/key.json" \\
  -e GOOGLE_CLOUD_PROJECT="$GOOGLE_CLOUD_PROJECT" \\
  {TAG} --help | cat"""
RUN = f"""\
docker run --rm \\
  -e COMFY_VERSION_NAME="$COMFY_VERSION_NAME" \\
  -e OUTPUT_MODE=gcs \\
  {TAG} \\
  --version-id "$COMFY_VERSION_NAME" \\
  --workflow /app/workflows/example.json \\
  --output gcs | cat"""
SMOKE_TEST = """\
echo '{}' > workflows/minimal.json
python -m rp_handler.main \\
  --version-id "${COMFY_VERSION_NAME}" \\
  --workflow /app/workflows/minimal.json \\
  --output base64 | head -c 80; echo"""
SMOKE_TEST_OF_GCS = """\
python -m rp_handler.main \\
  --version-id "${COMFY_VERSION_NAME}" \\
  --workflow workflows/minimal.json \\
  --output gcs | cat"""


@pytest.fixture(scope="module")
def address(engine: docker.DockerClient) -> str:
    """The address of this machine that containers reach."""
    (network,) = engine.networks.get("bridge").attrs["IPAM"]["Config"]
    # Where no other is named, it is the first one.
    return str(network.get("Gateway") or ip_network(network["Subnet"])[1])


@pytest.fixture(scope="module")
def project(
    base_image: str, address: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shell]:
    """The guide's project, with the image of a version of the fixture core."""
    folder = tmp_path_factory.mktemp("guide")
    work = folder / "work"
    make_project(work)
    core = core_repository(folder / "core", FIXTURE_CORE, "aiohttp\npyyaml\n")
    node = new_repository(folder / "node", {"__init__.py": "NODE_CLASS_MAPPINGS = {}\n"})
    options = {"constraints": held(), "base": base_image}
    write_spec(
        work / "versions", VERSION, core=core.at(), nodes={"small": node.at()}, options=options
    )
    (work / "workflows").mkdir()
    write_graph(work / "workflows/example.json", {"1": saving("hello")})
    with gcs(folder / "gcs", address=address) as storage:
        environment = {
            "COMFY_VERSION_NAME": VERSION,
            "COMFY_HOME": str(folder / "comfy"),
            "GCS_BUCKET": "results",
            "GOOGLE_CLOUD_PROJECT": "my-project",
            "STORAGE_EMULATOR_HOST": storage.url,
        }
        shell = Shell(folder=work, environment=environment)
        typed(shell, BUILD)
        yield shell


@pytest.fixture
def storage(project: Shell) -> GcsDouble:
    """Google Cloud Storage with a private bucket `results`."""
    storage = GcsDouble(project.environment["STORAGE_EMULATOR_HOST"], project.folder.parent / "gcs")
    storage.reset()
    storage.bucket("results", "private")
    return storage


@pytest.fixture
def guide(project: Shell, storage: GcsDouble) -> Shell:
    """A shell with the variables that the guide names; the key file is one of this machine."""
    key = {"GOOGLE_APPLICATION_CREDENTIALS": str(storage.key_file())}
    return replace(project, environment={**project.environment, **key})


def with_key(command: str) -> str:
    """A command with the key file at the guide's place, and all that its first one sets."""
    key = "/path/in/container/key.json"
    added = (
        f'-v "$GOOGLE_APPLICATION_CREDENTIALS:{key}:ro" -e GOOGLE_APPLICATION_CREDENTIALS={key} '
        '-e GCS_BUCKET="$GCS_BUCKET" -e GOOGLE_CLOUD_PROJECT="$GOOGLE_CLOUD_PROJECT" '
        "-e STORAGE_EMULATOR_HOST -e GCS_SIGNED_URL_TTL"
    )
    return command.replace("docker run --rm", f"docker run --rm {added}")


def in_container(command: str) -> str:
    """A command that the guide types in a container."""
    return with_key(
        'docker run --rm -e COMFY_VERSION_NAME="$COMFY_VERSION_NAME" '
        f"--entrypoint bash {TAG} -c {shlex.quote(command)}"
    )


def delivered(storage: GcsDouble, out: str) -> str:
    """The name of the one object, which a result names."""
    (found,) = storage.objects("results")
    name = str(found["name"])
    assert found["content"] == b"hello"
    assert out.startswith(f"gs://results/{name}  5 bytes  sha256:")
    return name


def test_the_first_command_shows_the_help_of_the_handler(guide: Shell) -> None:
    out, err = typed(guide, HELP)
    assert all(option in out for option in ("--version-id", "--workflow", "--output"))
    assert err == ""


def test_a_workflow_of_the_image_is_delivered_to_gcs(guide: Shell, storage: GcsDouble) -> None:
    code, out, err = guide.type(f"set -o pipefail; {RUN}")
    assert (code, out) == (2, "")
    assert "GCS_BUCKET is not set" in err
    out, _ = typed(guide, with_key(RUN))
    assert re.fullmatch(
        r"comfy/outputs/guide/\d{8}-\d{6}-example-[0-9a-f]{8}/x_00001\.txt",
        delivered(storage, out),
    )


def test_a_key_file_that_is_not_mounted_or_not_readable_is_named(guide: Shell) -> None:
    set_key = "-e GOOGLE_APPLICATION_CREDENTIALS -e GCS_BUCKET -e STORAGE_EMULATOR_HOST"
    command = f"set -o pipefail; {RUN}".replace("docker run --rm", f"docker run --rm {set_key}")
    code, _, err = guide.type(command)
    assert code == 3
    assert "GOOGLE_APPLICATION_CREDENTIALS names a file that cannot be read" in err
    assert "A container sees only files that are mounted into it." in err


def test_the_smoke_test_in_a_container(guide: Shell, storage: GcsDouble) -> None:
    out, _ = typed(guide, in_container(SMOKE_TEST))
    assert len(out) <= 81
    assert out.startswith("{")
    first = SMOKE_TEST.partition("\n")[0]
    out, _ = typed(guide, in_container(f"{first}\n{SMOKE_TEST_OF_GCS}"))
    assert "node classes" in out
    assert storage.objects("results") == []
    assert any("/iam/testPermissions" in str(it["path"]) for it in storage.asked)


def test_a_signed_url_is_in_the_verbose_log_of_a_container(
    guide: Shell, storage: GcsDouble
) -> None:
    guide.environment["GCS_SIGNED_URL_TTL"] = "60"
    out, err = typed(guide, with_key(RUN.replace("--output gcs", "--output gcs --verbose --json")))
    (entry,) = json.loads(out)["files"]
    assert f"for 60 s at {entry['url']}" in err
    assert "X-Goog-Signature" not in typed(guide, with_key(RUN))[1]


def test_image_run_delivers_to_gcs_with_a_key_file_of_this_machine(
    guide: Shell, storage: GcsDouble
) -> None:
    command = f".venv/bin/runpod-comfy image run --image {TAG} --workflow workflows/example.json"
    guide.environment["GCS_SIGNED_URL_TTL"] = "60"
    out, err = typed(guide, f"{command} --output gcs --verbose --json")
    (entry,) = json.loads(out)["files"]
    (found,) = storage.objects("results")
    assert entry["uri"] == f"gs://results/{found['name']}"
    assert entry["url"] in err
    code, out, err = guide.type(f"{command} --output gcs --timeout 0.0001")
    assert (code, "did not finish within 0.0001 seconds" in err) == (1, True), err
    guide.environment["GOOGLE_APPLICATION_CREDENTIALS"] = "/no/key.json"
    code, out, err = guide.type(f"{command} --output gcs")
    assert (code, out) == (3, "")
    assert "GOOGLE_APPLICATION_CREDENTIALS names a file that cannot be read" in err


def test_make_run_delivers_to_gcs_from_a_container(guide: Shell, storage: GcsDouble) -> None:
    # A path from the working directory, as people write it.
    key = Path(guide.environment["GOOGLE_APPLICATION_CREDENTIALS"])
    (guide.folder / "key.json").write_bytes(key.read_bytes())
    (guide.folder / "key.json").chmod(0o600)
    command = f"make run OUTPUT=gcs TARGET=docker TAG={TAG}"
    out, _ = typed(guide, f"GOOGLE_APPLICATION_CREDENTIALS=key.json {command}")
    delivered(storage, out)
    out, _ = typed(guide, command.replace("gcs", "base64"))
    (file,) = json.loads(out)["files"]
    assert base64.b64decode(file["data"]) == b"hello"
