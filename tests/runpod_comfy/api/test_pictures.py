"""Whether this machine can make a picture again: each thing that may be missing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from comfy_home.manifest import Manifest, save_manifest
from comfy_home.platforms import this_platform
from comfy_models.store import ModelStore
from comfy_workflows.graph import parse_workflow, workflow_digest
from rp_handler.pictures.texts import with_texts
from runpod_comfy.api import pictures
from runpod_comfy.api.pictures import VerifiedPicture, picture_document, verify_picture
from runpod_comfy.lock.store import load_lock
from tests.media_files import noise, picture
from tests.model_downloads import keep
from tests.model_versions import ModelVersion
from tests.runpod_comfy.api.test_provenance import DOCUMENT, GRAPH, marked

WEIGHTS = b"weights"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A version `small` with a model and an input file, and a picture that was made of all that."""

    version: ModelVersion
    home: Path
    cache: Path
    picture: Path

    @property
    def lock(self) -> Path:
        return self.version.project / "lockfiles/comfy-small.lock.json"

    def document(self) -> dict[str, Any]:
        return DOCUMENT | {
            "version": DOCUMENT["version"] | {"id": "small", "lock": load_lock(self.lock).digest},
            "workflow": workflow_digest(parse_workflow(GRAPH, place="g")),
            "models": [{"path": "vae/a.dat", "sha256": sha256(WEIGHTS)}],
            "inputs": [{"name": "photo.png", "sha256": sha256(b"photo")}],
            "device": {"name": "cpu", "type": "cpu", "platform": this_platform()},
        }

    def mark(self, graph: object = GRAPH, **changes: Any) -> None:
        marked(self.picture, self.document() | changes, graph)

    def verified(self) -> VerifiedPicture:
        return verify_picture(self.picture, project=self.version.project)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    home, cache = tmp_path / "home", tmp_path / "cache"
    monkeypatch.setenv("COMFY_CACHE_ROOT", str(cache))
    monkeypatch.setenv("COMFY_HOME", str(home))
    # No engine answers there.
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    for name in ("MODELS_DIR", "COMFY_VERSION_NAME", "LOCK_PATH", "COMFY_CACHE_MODELS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pictures, "nvidia_gpus", list)
    version = ModelVersion(project=tmp_path / "project")
    version.add(WEIGHTS, "a.dat", "vae/a.dat")
    version.write()
    machine = Machine(version=version, home=home, cache=cache, picture=tmp_path / "x.png")
    (home / "input").mkdir(parents=True)
    (home / "input/photo.png").write_bytes(b"photo")
    (home / "models/vae").mkdir(parents=True)
    (home / "models/vae/a.dat").write_bytes(WEIGHTS)
    digest = load_lock(machine.lock).digest
    save_manifest(home, Manifest(version_id="small", lock_digest=digest, complete=True))
    machine.mark()
    return machine


def states(verified: VerifiedPicture) -> dict[str, str]:
    return {finding.part: finding.state for finding in verified.findings}


ALL_HERE = dict.fromkeys(("graph", "lock", "version", "model", "input", "device"), "here")


def test_everything_is_here(machine: Machine) -> None:
    verified = machine.verified()
    assert states(verified) == ALL_HERE
    assert verified.error is None
    assert verified.command == "runpod-comfy run small --workflow WORKFLOW"
    document = json.loads(json.dumps(picture_document(verified)))
    assert document["can_be_made"] is True
    assert document["provenance"]["workflow"] == machine.document()["workflow"]


def _other_lock(machine: Machine) -> None:
    machine.version.models.clear()
    machine.version.locked.clear()
    machine.version.write()


def _without_graph(machine: Machine) -> bytes:
    made = with_texts(picture(noise()), {"provenance": json.dumps(machine.document())})
    assert made is not None
    return made[0]


Change = Callable[[Machine], object]
CHANGES: dict[str, tuple[Change, str, str]] = {
    "no lock": (lambda it: it.lock.unlink(), "lock missing", "no lock of small here is sha256:"),
    "other lock": (_other_lock, "lock missing", "Check out the commit of the project that has it"),
    "no home": (
        lambda it: (it.home / ".comfy_env").unlink(),
        "version missing",
        "Run: runpod-comfy realize small",
    ),
    "home of another lock": (
        lambda it: save_manifest(it.home, Manifest(version_id="small", lock_digest="sha256:1")),
        "version missing",
        "its version is neither realized here nor an image",
    ),
    "no model": (
        lambda it: (it.home / "models/vae/a.dat").unlink(),
        "model missing",
        "Run: runpod-comfy verify-models small",
    ),
    "other model": (
        lambda it: (it.home / "models/vae/a.dat").write_bytes(b"other"),
        "model different",
        f"not {sha256(WEIGHTS)}. Run: runpod-comfy verify-models small --overwrite",
    ),
    "no input": (
        lambda it: (it.home / "input/photo.png").unlink(),
        "input missing",
        f"the input file photo.png with sha256 {sha256(b'photo')} is not in",
    ),
    "other input": (
        lambda it: (it.home / "input/photo.png").write_bytes(b"other"),
        "input different",
        "Put it there",
    ),
    "no graph": (
        lambda it: it.picture.write_bytes(_without_graph(it)),
        "graph missing",
        "the picture has no graph in it",
    ),
    "another graph": (
        lambda it: it.mark(graph="{}"),
        "graph different",
        "the graph was changed after the picture was made",
    ),
    "without a lock": (
        lambda it: it.mark(version=DOCUMENT["version"] | {"id": None, "lock": None}),
        "lock missing",
        "it was made by a ComfyUI without a lock",
    ),
    "another platform": (
        lambda it: it.mark(device={"name": "mps", "type": "mps", "platform": "macos-x"}),
        "device different",
        f"it was made on mps on macos-x, and this machine is {this_platform()}",
    ),
    "a hostile name": (
        lambda it: it.mark(inputs=[{"name": "../\n\x1b[31m\ud800", "sha256": "0" * 64}]),
        "input missing",
        "the input file ../ [31m",
    ),
    "a hostile path": (
        lambda it: it.mark(models=[{"path": "../../etc/passwd", "sha256": "0" * 64}]),
        "model missing",
        "the model ../../etc/passwd with sha256",
    ),
}


@pytest.mark.parametrize(("change", "state", "sentence"), CHANGES.values(), ids=CHANGES)
def test_what_is_missing_is_named(
    machine: Machine, change: Change, state: str, sentence: str
) -> None:
    change(machine)
    verified = machine.verified()
    part, found = state.split()
    assert states(verified)[part] == found
    assert verified.error is not None
    assert sentence in verified.error.message
    assert verified.error.exit_code == (4 if state == "graph different" else 3)
    assert picture_document(verified)["command"] is None
    assert all(finding.sentence.isprintable() for finding in verified.findings)


def test_a_changed_graph_comes_before_what_is_missing(machine: Machine) -> None:
    machine.mark(graph={"1": {"class_type": "Paint", "inputs": {"name": "y.png"}}})
    machine.lock.unlink()
    error = machine.verified().error
    assert error is not None
    assert error.exit_code == 4
    assert "no lock of small here" in error.message


def test_a_lock_of_an_earlier_spec_is_named_in_the_command(machine: Machine) -> None:
    path = machine.version.project / "versions/small.json"
    path.write_text(path.read_text().replace("1" * 40, "2" * 40))
    verified = machine.verified()
    assert states(verified) == ALL_HERE
    assert f"run small --lock {machine.lock} --workflow" in verified.command


def test_a_model_of_the_lock_may_be_in_the_store(machine: Machine) -> None:
    (machine.home / "models/vae/a.dat").unlink()
    keep(machine.cache / "models", WEIGHTS)
    assert ModelStore(machine.cache / "models").holds(sha256(WEIGHTS))
    assert states(machine.verified()) == ALL_HERE
    # One that the lock does not have would not be found there.
    _other_lock(machine)
    machine.mark()
    assert states(machine.verified())["model"] == "missing"


def test_a_model_is_read_once(machine: Machine) -> None:
    said: list[str] = []
    for _ in range(2):
        verify_picture(machine.picture, project=machine.version.project, say=said.append)
    assert [one for one in said if "a.dat" in one] == [f"Reading {machine.home}/models/vae/a.dat"]


def test_what_the_picture_does_not_know_is_not_missing(machine: Machine) -> None:
    machine.mark(models=[{"path": "vae/a.dat", "sha256": None}])
    assert states(machine.verified())["model"] == "unknown"
    machine.mark(models=None)
    verified = machine.verified()
    assert states(verified)["model"] == "unknown"
    assert verified.error is None


GPU = {"name": "NVIDIA L4", "type": "cuda", "platform": this_platform(), "driver": "580.65.06"}


@pytest.mark.parametrize(
    ("device", "gpus", "state"),
    [
        (GPU, ["NVIDIA L4"], "here"),
        (GPU, ["NVIDIA H200"], "different"),
        (GPU, [], "different"),
        (GPU | {"driver": None}, [], "unknown"),
        ({"name": "cpu", "type": "cpu", "platform": this_platform()}, ["NVIDIA L4"], "here"),
    ],
)
def test_the_device_has_to_be_one_of_this_machine(
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    device: dict[str, Any],
    gpus: list[str],
    state: str,
) -> None:
    monkeypatch.setattr(pictures, "nvidia_gpus", lambda: gpus)
    machine.mark(device=device)
    assert states(machine.verified())["device"] == state


def test_another_processor_is_said_and_does_not_count(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = {"driver": None, "processor": "CPU of today"}
    monkeypatch.setattr(pictures, "device_of", lambda _: now)
    device = {"name": "cpu", "type": "cpu", "platform": this_platform()}
    for processor, said in (("CPU of then", True), ("CPU of today", False), (None, False)):
        machine.mark(device=device | {"processor": processor})
        finding = machine.verified().findings[-1]
        assert finding.state == "here"
        ending = "; the processor was CPU of then, and is CPU of today"
        assert finding.sentence.endswith(ending) is said
