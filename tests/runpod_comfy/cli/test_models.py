"""`verify-models` on models that come from a real server, and its short way."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runpod_comfy.api import models as long_way
from runpod_comfy.api.versions import select
from runpod_comfy.cli.app import run_command_line
from runpod_comfy.sources.model_hosts import model_hosts
from tests.http_server import Answer, Request, ranged, serve
from tests.model_versions import ModelVersion
from tests.runpod_comfy.cli.moving_world import World

A, B = b"GGUF" + b"a" * 99_996, b"GGUF" + b"b" * 69_996


class Web:
    """A server of the contents at its paths, which counts what is asked for."""

    def __init__(self) -> None:
        self.contents = {"/a.gguf": A, "/b.gguf": B}
        self.asked: list[str] = []
        self.url = ""

    def answer(self, request: Request) -> Answer:
        self.asked.append(request.path)
        content = self.contents.get(request.path)
        if content is None:
            return Answer(status=404)
        return ranged(request, content, etag=f'"{hashlib.sha256(content).hexdigest()}"')


@pytest.fixture
def web() -> Iterator[Web]:
    web = Web()
    with serve(answering=web.answer) as url:
        web.url = url
        yield web


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    (folder / "versions").mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COMFY_CACHE_ROOT", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    for name in ("MODELS_DIR", "COMFY_HOME", "COMFY_VERSION_NAME", "LOCK_PATH"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def small(project: Path, web: Web) -> ModelVersion:
    version = ModelVersion(project=project)
    version.add(A, f"{web.url}/a.gguf", "loras/a.gguf")
    version.add(B, f"{web.url}/b.gguf", "vae/b.gguf")
    version.write()
    return version


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def long_ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Filled at each run that reads specs and locks."""
    taken: list[str] = []

    def count(*arguments: Any, **options: Any) -> Any:
        taken.append("select")
        return select(*arguments, **options)

    monkeypatch.setattr(long_way, "select", count)
    return taken


def states(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, list[str]]:
    """The exit code of `verify-models --json`, and the state of each model."""
    code, document = found(capsys, *arguments)
    return code, [model["state"] for model in document["models"]]


def found(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = run_command_line(["verify-models", "--json", *map(str, arguments)])
    return code, json.loads(capsys.readouterr().out)


def test_missing_models_are_downloaded_once_and_linked(
    small: ModelVersion, web: Web, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert states(capsys, "--models-dir", models) == (0, ["downloaded", "downloaded"])
    assert (models / "loras/a.gguf").read_bytes() == A
    assert (models / "vae/b.gguf").is_symlink()
    asked = len(web.asked)
    assert states(capsys, "--models-dir", models) == (0, ["present", "present"])
    assert states(capsys, "--models-dir", models, "--rehash") == (0, ["verified", "verified"])
    assert len(web.asked) == asked


def test_the_table_names_each_model_with_its_state_and_size(
    small: ModelVersion, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["verify-models", "small", "--models-dir", str(models)]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        str(models),
        "  downloaded  loras/a.gguf  100.0 kB  small",
        "  downloaded  vae/b.gguf     70.0 kB  small",
    ]
    assert err.splitlines()[-1] == "2 models: 2 downloaded"


def test_the_models_folder_is_that_of_the_variables_else_of_the_home(
    small: ModelVersion,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_command_line(["verify-models"]) == 0
    assert (tmp_path / "user/comfy-small/models/loras/a.gguf").read_bytes() == A
    monkeypatch.setenv("COMFY_HOME", str(tmp_path / "home"))
    assert run_command_line(["verify-models"]) == 0
    assert (tmp_path / "home/models/loras/a.gguf").read_bytes() == A
    monkeypatch.setenv("MODELS_DIR", str(tmp_path / "shared"))
    assert run_command_line(["verify-models"]) == 0
    assert (tmp_path / "shared/loras/a.gguf").read_bytes() == A


def test_another_file_stays_unless_it_is_to_be_overwritten(
    small: ModelVersion, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = models / "loras/a.gguf"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"mine")
    code, document = found(capsys, "--models-dir", models)
    assert code == 4
    (wrong, right) = document["models"]
    assert (wrong["state"], right["state"]) == ("wrong", "downloaded")
    assert f"{place} is not the file that the version needs: it has 4 bytes" in wrong["reason"]
    assert place.read_bytes() == b"mine"
    assert states(capsys, "--models-dir", models, "--overwrite") == (0, ["downloaded", "present"])
    assert place.read_bytes() == A


def test_a_wrong_copy_in_the_store_is_downloaded_again(
    small: ModelVersion, web: Web, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["verify-models", "--models-dir", str(models)]) == 0
    stored = (models / "loras/a.gguf").resolve()
    stored.chmod(0o644)
    stored.write_bytes(b"x" * len(A))
    assert states(capsys, "--models-dir", models) == (0, ["downloaded", "present"])
    assert (models / "loras/a.gguf").read_bytes() == A


def test_what_no_source_has_is_missing_and_the_rest_is_there(
    small: ModelVersion, web: Web, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del web.contents["/a.gguf"]
    code, document = found(capsys, "--models-dir", models)
    assert code == 4
    assert [model["state"] for model in document["models"]] == ["missing", "downloaded"]
    assert "404" in document["error"]
    assert document["models"][0]["reason"] == document["error"].removeprefix("model loras/a.gguf: ")
    assert document["counts"] == {
        "present": 0,
        "verified": 0,
        "downloaded": 1,
        "wrong": 0,
        "missing": 1,
    }
    assert not os.path.lexists(models / "loras/a.gguf")


def test_other_bytes_than_the_lock_has_never_stand_under_a_final_name(
    small: ModelVersion, web: Web, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    web.contents["/a.gguf"] = b"GGUF" + b"z" * 99_996
    code, document = found(capsys, "--models-dir", models)
    assert (code, document["models"][0]["state"]) == (4, "missing")
    assert hashlib.sha256(A).hexdigest() in document["error"]
    assert hashlib.sha256(b"GGUF" + b"z" * 99_996).hexdigest() in document["error"]
    stored = [path for path in (tmp_path / "cache/models/sha256").rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in stored] == [B]


def test_every_version_is_verified_and_a_shared_model_is_downloaded_once(
    small: ModelVersion, web: Web, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = ModelVersion(project=small.project, version_id="other")
    other.add(A, f"{web.url}/a.gguf", "loras/a.gguf")
    other.add(A, f"{web.url}/a.gguf", "loras/again.gguf")
    other.write()
    code, document = found(capsys, "--models-dir", models)
    assert code == 0
    assert {model["target_path"]: model["versions"] for model in document["models"]} == {
        "loras/a.gguf": ["other", "small"],
        "loras/again.gguf": ["other"],
        "vae/b.gguf": ["small"],
    }
    assert len([path for path in web.asked if path == "/a.gguf"]) == 1
    assert states(capsys, "other", "--models-dir", models) == (0, ["present", "present"])


def test_two_versions_that_need_different_files_at_one_path_are_both_named(
    small: ModelVersion, web: Web, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = ModelVersion(project=small.project, version_id="other")
    other.add(B, f"{web.url}/b.gguf", "loras/a.gguf")
    other.write()
    code, document = found(capsys, "--models-dir", models)
    assert code == 4
    wrong = [model for model in document["models"] if model["state"] == "wrong"]
    assert [model["versions"] for model in wrong] == [["small"]]
    assert wrong[0]["reason"].startswith("other needs another file at this path")
    assert (models / "loras/a.gguf").read_bytes() == B
    # Nor is the link of the other version changed when one is verified alone.
    assert states(capsys, "small", "--models-dir", models)[0] == 4
    assert (models / "loras/a.gguf").read_bytes() == B


def test_the_variable_names_the_version_and_a_file_the_lock(
    small: ModelVersion,
    web: Web,
    models: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = ModelVersion(project=small.project, version_id="other")
    other.add(A, f"{web.url}/a.gguf", "loras/a.gguf")
    other.write()
    lock = small.project / "lockfiles/comfy-other.lock.json"
    assert states(capsys, "--models-dir", models, "--lock", lock) == (0, ["downloaded"])
    spec = small.project / "versions/other.json"
    assert states(capsys, "--models-dir", models, "--spec", spec) == (0, ["present"])
    monkeypatch.setenv("LOCK_PATH", str(lock))
    assert states(capsys, "--models-dir", models) == (0, ["present"])
    monkeypatch.setenv("LOCK_PATH", "none.json")
    for named in ((), ("other",)):
        assert run_command_line(["verify-models", *named]) == 3
        assert "  → Unset or correct LOCK_PATH. " in capsys.readouterr().err
    monkeypatch.delenv("LOCK_PATH")
    monkeypatch.setenv("COMFY_VERSION_NAME", "other")
    assert states(capsys, "--models-dir", models) == (0, ["present"])


def test_a_project_without_versions_says_how_to_write_one(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["verify-models"]) == 3
    assert "there are no versions in" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["0", "-1", "soon", "inf", "nan"])
def test_a_timeout_is_a_number_of_seconds(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["verify-models", f"--timeout={seconds}"]) == 2


def test_a_silent_server_is_given_up_after_the_timeout(
    small: ModelVersion, web: Web, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float | None] = []

    def note(*arguments: Any, **options: Any) -> Any:
        hosts = model_hosts(*arguments, **options)
        asked.append(hosts.client.settings.timeout_s)
        return hosts

    monkeypatch.setattr(long_way, "model_hosts", note)
    arguments = ["verify-models", "--models-dir", str(models)]
    assert run_command_line([*arguments, "--timeout", "7"]) == 0
    small.add(b"c", f"{web.url}/c.gguf", "c.gguf")
    small.write()
    assert run_command_line(arguments) == 4
    assert asked == [7.0, 120.0]


def test_a_version_without_a_lock_is_resolved_first(
    bare_world: World, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (bare_world.folder / "versions" / "m.gguf").write_text("GGUF weights")
    assert run_command_line(["verify-models", "--models-dir", str(models)]) == 0
    err = capsys.readouterr().err
    assert "No lock matches" in err
    assert "resolving it first" in err
    assert (models / "vae/m.gguf").read_text() == "GGUF weights"
    assert bare_world.lock_path.is_file()


def test_a_silent_server_is_given_up_after_the_timeout_while_resolving(
    bare_world: World, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float | None] = []

    def note(*arguments: Any, **options: Any) -> Any:
        hosts = model_hosts(*arguments, **options)
        asked.append(hosts.client.settings.timeout_s)
        return hosts

    monkeypatch.setattr("runpod_comfy.lock.resolve.model_hosts", note)
    (bare_world.folder / "versions" / "m.gguf").write_text("GGUF weights")
    assert run_command_line(["verify-models", "--models-dir", str(models), "--timeout", "7"]) == 0
    assert asked == [7.0]


def test_a_version_without_models_is_not_resolved(
    small: ModelVersion, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    core = {"repo": "https://unreachable.invalid/core", "ref": "main"}
    bare = {"schema_version": 2, "version_id": "bare", "comfy": core}
    (small.project / "versions/bare.json").write_text(json.dumps(bare))
    assert states(capsys, "--models-dir", models) == (0, ["downloaded", "downloaded"])
    assert states(capsys, "bare", "--models-dir", models) == (0, [])
    assert "resolving" not in capsys.readouterr().err


def test_a_version_that_has_no_lock_does_not_keep_the_others_from_being_verified(
    small: ModelVersion, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (small.project / "versions/broken.json").write_text("{}")
    code, document = found(capsys, "--models-dir", models)
    assert code == 2
    assert "broken.json" in document["error"]
    assert document["holds"] is False
    assert [model["state"] for model in document["models"]] == ["downloaded", "downloaded"]
    assert states(capsys, "--models-dir", models)[0] == 2
    assert run_command_line(["verify-models", "broken", "--models-dir", str(models)]) == 2


def test_a_model_whose_sha256_nothing_tells_is_downloaded_and_the_lock_completed(
    bare_world: World, web: Web, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = json.loads(bare_world.spec.read_text())
    spec["models"] = [{"name": "a.gguf", "source": f"{web.url}/a.gguf", "target_subdir": "vae"}]
    bare_world.spec.write_text(json.dumps(spec))
    code, document = found(capsys, "--models-dir", models)
    assert (code, document["counts"]["downloaded"]) == (0, 1)
    assert (models / "vae/a.gguf").read_bytes() == A
    (locked,) = bare_world.lock["models"]
    assert (locked["sha256"], locked["hashed_on_download"]) == (hashlib.sha256(A).hexdigest(), True)
    asked = len(web.asked)
    assert states(capsys, "--models-dir", models) == (0, ["present"])
    assert len(web.asked) == asked


def test_a_model_that_cannot_complete_the_lock_does_not_keep_the_others_from_being_brought(
    bare_world: World, web: Web, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = json.loads(bare_world.spec.read_text())
    spec["models"] = [
        {"name": name, "source": f"{web.url}/{name}", "target_subdir": "vae"}
        for name in ("b.gguf", "a.gguf")
    ]
    bare_world.spec.write_text(json.dumps(spec))
    assert run_command_line(["resolve", bare_world.spec.stem]) == 0
    before = bare_world.lock
    del web.contents["/b.gguf"]
    code, document = found(capsys, "--models-dir", models)
    assert (code, document["holds"]) == (4, False)
    assert (models / "vae/a.gguf").read_bytes() == A
    brought, lacking = document["models"]
    assert (brought["state"], brought["sha256"]) == ("downloaded", hashlib.sha256(A).hexdigest())
    assert (lacking["state"], lacking["sha256"], lacking["size"]) == ("missing", "", len(B))
    assert lacking["reason"].startswith(f"{web.url}/b.gguf could not be read: it answered 404")
    assert "b.gguf" in document["error"]
    assert bare_world.lock == before
    assert run_command_line(["verify-models", "--models-dir", str(models), "--verbose"]) == 4
    out = capsys.readouterr().out
    assert "  present  vae/a.gguf  100.0 kB" in out
    assert "  missing  vae/b.gguf   70.0 kB" in out
    web.contents["/b.gguf"] = B
    assert states(capsys, "--models-dir", models)[0] == 0
    assert [model["name"] for model in bare_world.lock["models"]] == ["b.gguf", "a.gguf"]


def test_nothing_changed_means_that_no_spec_and_no_lock_is_read(
    small: ModelVersion,
    models: Path,
    long_ways: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["verify-models", "--models-dir", str(models)]
    assert run_command_line(arguments) == 0
    assert run_command_line(arguments) == 0
    assert len(long_ways) == 1
    (models / "loras/a.gguf").unlink()
    assert run_command_line(arguments) == 0
    assert len(long_ways) == 2
    small.write()
    small.add(A, small.models[0]["source"], "loras/c.gguf")
    small.write()
    assert run_command_line(arguments) == 0
    assert (models / "loras/c.gguf").read_bytes() == A
    assert len(long_ways) == 3


def test_a_new_version_is_noticed(
    small: ModelVersion, web: Web, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert states(capsys, "--models-dir", models) == (0, ["downloaded", "downloaded"])
    other = ModelVersion(project=small.project, version_id="other")
    other.add(A, f"{web.url}/a.gguf", "c.gguf")
    other.write()
    assert len(states(capsys, "--models-dir", models)[1]) == 3


def test_processes_that_verify_at_once_download_each_model_once(
    small: ModelVersion, web: Web, models: Path
) -> None:
    program = [sys.executable, "-m", "runpod_comfy.cli.app", "verify-models"]
    processes = [
        subprocess.Popen(
            [*program, "--models-dir", models],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.DEVNULL,
        )
        for _ in range(4)
    ]
    assert [process.wait() for process in processes] == [0] * 4
    assert sorted(web.asked) == ["/a.gguf", "/b.gguf"]
    assert (models / "loras/a.gguf").read_bytes() == A
    assert not list(models.rglob("*.partial"))


_WITHOUT = """\
import sys
sys.modules["pydantic"] = None
from runpod_comfy.cli.app import run_command_line
sys.exit(run_command_line(sys.argv[1:]))
"""


def test_the_short_way_needs_no_model_of_a_spec(small: ModelVersion, models: Path) -> None:
    arguments = ["verify-models", "--models-dir", str(models)]
    assert run_command_line(arguments) == 0
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "2 models: 2 present\n")
