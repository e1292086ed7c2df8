"""What a container of a version's image does, and what it may not do."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import time
from pathlib import Path
from typing import Any

import docker
import pytest
from testcontainers.core.container import DockerContainer

from tests.containers import Finished, run_to_end, running
from tests.docker.small_version import MODEL, MODEL_BYTES, NODE_MODEL, SmallVersions

_STOPS_WITHIN_S = 5
_STARTS_WITHIN_S = 60
_KILLED = 137

ONE_SHOT = ["--version-id", "small", "--output", "base64", "--workflow"]
EXAMPLE = [*ONE_SHOT, "/app/workflows/example.json"]


def picture(done: Finished) -> bytes:
    """The one picture in the result that a container printed."""
    assert done.code == 0, done.err
    (image,) = json.loads(done.out)["images"]
    return base64.b64decode(image["data"])


def test_help_is_the_handlers(small_image: str) -> None:
    done = run_to_end(small_image, ["--help"])
    assert done.code == 0
    assert "--workflow" in done.out


def test_a_workflow_of_the_image_runs_once(small_image: str) -> None:
    assert picture(run_to_end(small_image, EXAMPLE)) == b"a picture"


def test_a_result_names_the_image_that_image_run_started(
    engine: docker.DockerClient, versions: SmallVersions, small_image: str
) -> None:
    workflow = versions.program.folder / "workflows/example.json"
    options = ("--image", small_image, "--workflow", workflow, "--output", "base64")
    done = versions.program("image", "run", "small", *options, "--provenance").document()
    built = engine.images.get(small_image)
    digest = next(iter(built.attrs["RepoDigests"]), built.id)
    assert done["version"]["image"] == done["provenance"]["version"]["image"] == digest
    # Plain `docker run` does not state it.
    plain = run_to_end(small_image, EXAMPLE)
    assert json.loads(plain.out)["version"]["image"] is None
    told = run_to_end(small_image, EXAMPLE, environment={"COMFY_IMAGE": digest})
    assert json.loads(told.out)["version"]["image"] == digest


def test_the_guides_smoke_test_runs_in_the_working_directory(small_image: str) -> None:
    command = ["python", "-m", "rp_handler.main", *ONE_SHOT, "workflows/example.json"]
    done = run_to_end(small_image, command[1:], entrypoint=command[:1])
    assert picture(done) == b"a picture"


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"read_only": True, "tmpfs": ["/tmp"]}, id="read-only"),
        pytest.param(
            {"security_opt": ["no-new-privileges:true"], "cap_drop": ["ALL"]},
            id="no-new-privileges",
        ),
        pytest.param({"network_mode": "none"}, id="no-network"),
        pytest.param({"user": "4321:4321", "tmpfs": ["/tmp"]}, id="another-user"),
    ],
)
def test_it_runs_under_restrictions(small_image: str, options: dict[str, Any]) -> None:
    assert picture(run_to_end(small_image, EXAMPLE, **options)) == b"a picture"


def test_nothing_runs_as_root_and_only_its_own_folders_can_be_written(small_image: str) -> None:
    script = 'id -u; find / -xdev -writable \\( -type f -o -type d \\) ! -path "/proc/*"'
    user, *places = run_to_end(
        small_image, ["-c", f"{script} 2>/dev/null; true"], entrypoint=["sh"]
    ).out.splitlines()
    assert user == "1000"
    own = ("/app", "/home/comfy", "/opt/comfy/", "/tmp", "/var/tmp", "/dev", "/run/lock")
    assert [place for place in places if not place.startswith(own)] == []


def test_programs_and_packages_cannot_be_written(small_image: str) -> None:
    places = "/opt/handler /opt/comfy/ComfyUI /opt/comfy/.venv /usr /etc"
    script = f"find {places} -xdev -writable ! -type l 2>/dev/null"
    done = run_to_end(small_image, ["-c", script], entrypoint=["sh"])
    assert done.out == ""


def test_of_the_handlers_programs_only_its_interpreter_is_on_the_path(small_image: str) -> None:
    done = run_to_end(small_image, ["-c", "ls /opt/handler/bin"], entrypoint=["sh"])
    assert done.out.split() == ["python", "python3", "python3.11"]


def test_stop_ends_it_within_seconds_and_the_engine_with_it(small_image: str) -> None:
    def seconds() -> float:
        with running(small_image, [*ONE_SHOT, "/app/workflows/sleep.json"]) as container:
            _wait_for_the_engine(container)
            started = time.monotonic()
            container.get_wrapped_container().stop(timeout=60)
            took = time.monotonic() - started
            container.reload()
            state = container.get_wrapped_container().attrs["State"]
        # Killed, its first process went before the engine was.
        return took if state["ExitCode"] != _KILLED else math.inf

    # A busy machine may be late once; what takes longer by itself does so each time.
    assert any(seconds() < _STOPS_WITHIN_S for _ in range(3))


def test_models_come_from_a_volume(small_image_with_model: str, tmp_path: Path) -> None:
    place = tmp_path / "models" / MODEL
    place.parent.mkdir(parents=True)
    place.write_bytes(MODEL_BYTES)
    done = run_to_end(
        small_image_with_model,
        ["--workflow", "/app/workflows/model.json", "--output", "base64"],
        volumes={tmp_path / "models": "/models"},
        environment={"MODELS_DIR": "/models"},
    )
    assert picture(done) == Path(MODEL).name.encode()


RESTRICTIONS = [
    pytest.param({}, id="plain"),
    pytest.param({"user": "4321:4321"}, id="another-user"),
    pytest.param({"read_only": True, "tmpfs": ["/tmp"]}, id="read-only"),
]


def models(folder: Path, **files: str) -> Path:
    """A models folder with the version's model, or with a user's own at `LLM/own.gguf`."""
    for name, text in files.items():
        place = folder / {"locked": MODEL, "own": "LLM/own.gguf"}[name]
        place.parent.mkdir(parents=True)
        place.write_text(text)
    return folder


def said(image: str, workflow: str, **options: Any) -> str:
    """The text of the one node of a workflow in the image."""
    command = ["--workflow", f"/app/workflows/{workflow}.json", "--output", "base64"]
    done = run_to_end(image, command, **options)
    assert done.code == 0, done.err
    (text,) = json.loads(done.out)["text"]
    return str(text["text"])


@pytest.mark.parametrize("options", RESTRICTIONS)
@pytest.mark.parametrize("place", ["/models", "/runpod-volume/models", "/workspace/models"])
def test_a_node_finds_a_mounted_model_below_the_cores_models_folder(
    small_image_with_model: str, tmp_path: Path, place: str, options: dict[str, Any]
) -> None:
    text = MODEL_BYTES.decode()
    mounted = {
        "volumes": {models(tmp_path / "models", locked=text, own="mine"): place},
        "environment": {"MODELS_DIR": place} if place == "/models" else {},
    }
    assert said(small_image_with_model, "read", **mounted, **options) == text
    assert said(small_image_with_model, "read-own", **mounted, **options) == "mine"


@pytest.mark.parametrize("options", RESTRICTIONS)
def test_a_node_finds_models_of_a_store_and_of_a_folder_at_once(
    small_image_with_model: str, tmp_path: Path, options: dict[str, Any]
) -> None:
    text = MODEL_BYTES.decode()
    digest = hashlib.sha256(MODEL_BYTES).hexdigest()
    stored = tmp_path / "store/sha256" / digest[:2] / digest
    stored.parent.mkdir(parents=True)
    stored.write_bytes(MODEL_BYTES)
    mounted = {
        "volumes": {
            models(tmp_path / "models", locked="another file", own="mine"): "/models",
            tmp_path / "store": "/store",
        },
        "environment": {"MODELS_DIR": "/models", "COMFY_CACHE_MODELS": "/store"},
    }
    assert said(small_image_with_model, "read", **mounted, **options) == text
    assert said(small_image_with_model, "read-own", **mounted, **options) == "mine"


@pytest.mark.parametrize("options", RESTRICTIONS)
@pytest.mark.parametrize("source", ["/models", "/runpod-volume/models", "/store"])
def test_a_node_finds_a_model_in_its_own_folder(
    small_image_with_node_model: str, tmp_path: Path, source: str, options: dict[str, Any]
) -> None:
    digest = hashlib.sha256(MODEL_BYTES).hexdigest()
    inside = f"node_models/small_node/{NODE_MODEL}"
    # The folder of the test itself is closed to other users.
    folder = tmp_path / "mounted"
    place = folder / (f"sha256/{digest[:2]}/{digest}" if source == "/store" else inside)
    place.parent.mkdir(parents=True)
    place.write_bytes(MODEL_BYTES)
    variables = {"/models": "MODELS_DIR", "/store": "COMFY_CACHE_MODELS"}
    mounted = {
        "volumes": {folder: source},
        "environment": {variables[source]: source} if source in variables else {},
    }
    text = said(small_image_with_node_model, "read-beside", **mounted, **options)
    assert text == MODEL_BYTES.decode()


@pytest.mark.parametrize("options", RESTRICTIONS)
def test_what_a_node_downloads_lands_in_the_mounted_folder(
    small_image: str, tmp_path: Path, options: dict[str, Any]
) -> None:
    folder = models(tmp_path / "models", own="mine")
    folder.chmod(0o777)
    mounted = {
        "volumes": {folder: "/models"},
        "volume_mode": "rw",
        "environment": {"MODELS_DIR": "/models"},
    }
    assert said(small_image, "download", **mounted, **options) == "10"
    assert (folder / "facedet/new.pth").read_text() == "downloaded"


def test_the_engine_by_hand_sees_the_images_own_models_folder(small_image: str) -> None:
    script = (
        "cd /opt/comfy/ComfyUI && mkdir models/LLM && ls /opt/comfy/models && "
        "/opt/comfy/.venv/bin/python -c 'import folder_paths; print(folder_paths.models_dir)'"
    )
    done = run_to_end(small_image, ["-c", script], entrypoint=["sh"])
    assert done.code == 0, done.err
    assert "LLM" in done.out.split()


def test_a_missing_model_is_named_before_anything_runs(small_image_with_model: str) -> None:
    done = run_to_end(
        small_image_with_model,
        ["--workflow", "/app/workflows/model.json", "--output", "base64"],
        environment={"COMFY_MISSING_MODELS": "fail"},
    )
    assert done.code == 3
    assert Path(MODEL).name in done.err


def _wait_for_the_engine(container: DockerContainer) -> None:
    until = time.monotonic() + _STARTS_WITHIN_S
    while time.monotonic() < until:
        processes = container.get_wrapped_container().top()["Processes"]
        if any("/opt/comfy/ComfyUI/main.py" in " ".join(process) for process in processes):
            # It is asked only when it answers; a moment later it is at work on the graph.
            time.sleep(3)
            return
        time.sleep(0.2)
    out, err = container.get_logs()
    pytest.fail(f"the engine did not start: {out.decode()}{err.decode()}")
