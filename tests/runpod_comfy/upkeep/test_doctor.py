"""What the commands need is found, or reported with what to do, and no check takes long."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from runpod_comfy.cache.paths import Cache
from runpod_comfy.cli.app import run_command_line
from runpod_comfy.upkeep.doctor import Answer, examine, is_ready
from tests.http_server import Answer as HttpAnswer
from tests.http_server import Request, serve
from tests.package_index import publish
from tests.program import write_program
from tests.runpod_comfy.images.canned_engine import CannedEngine, served


@pytest.fixture(autouse=True)
def _quiet_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")
    for name in ("MODELS_DIR", "LOCK_PATH", "COMFY_HOME", "OUTPUT_MODE", "COMFY_CACHE_MODELS"):
        monkeypatch.delenv(name, raising=False)


def _examine(cache: Cache, tmp_path: Path, **environment: str) -> dict[str, Answer]:
    return {answer.name: answer for answer in examine(cache, tmp_path, environment)}


def test_what_is_needed_is_found_here(cache: Cache, tmp_path: Path) -> None:
    answers = _examine(cache, tmp_path)
    assert {answers[name].state for name in ("python", "git", "uv", "links", "cache")} == {"ok"}
    assert "hard links" in answers["links"].found
    assert is_ready(list(answers.values()))
    # It leaves nothing behind.
    assert list(tmp_path.iterdir()) == []


def test_some_checks_alone_do_not_wait_for_the_others(cache: Cache, tmp_path: Path) -> None:
    answers = examine(cache, tmp_path, {}, only=("gpu", "room"))
    names = [answer.name for answer in answers]
    assert names[-1] == "gpu"
    assert {name.partition(" for ")[0] for name in names} == {"space", "gpu"}


def test_without_uv_the_program_is_to_be_installed_again(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> Path:
        raise FileNotFoundError

    monkeypatch.setattr("runpod_comfy.sources.index.pip_settings.uv_program", missing)
    uv = _examine(cache, tmp_path)["uv"]
    assert uv.state == "missing"
    assert uv.remedy.startswith("Install runpod-comfy again")


def test_every_line_that_is_not_ok_says_what_to_do(cache: Cache, tmp_path: Path) -> None:
    answers = _examine(cache, tmp_path, MODELS_DIR="/no/such/folder", OUTPUT_MODE="fax")
    assert answers["MODELS_DIR"].state == answers["OUTPUT_MODE"].state == "warning"
    assert all(answer.remedy for answer in answers.values() if answer.state != "ok")


def test_a_cache_that_is_a_file_is_reported_once(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.touch()
    answers = _examine(Cache(root=place), tmp_path, COMFY_CACHE_ROOT=str(place))
    assert answers["COMFY_CACHE_ROOT"].found == f"{place} is not a folder"
    assert [name for name, answer in answers.items() if answer.state == "missing"] == [
        "COMFY_CACHE_ROOT"
    ]
    assert "cache" not in answers


@pytest.mark.parametrize(("below", "variable"), [("", False), ("cache", False), ("cache", True)])
def test_a_file_in_place_of_a_cache_is_not_a_folder_that_is_still_to_be_made(
    tmp_path: Path, below: str, variable: bool
) -> None:
    place = tmp_path / "file"
    place.touch()
    root = place / below
    named = {"COMFY_CACHE_ROOT": str(root)} if variable else {}
    answers = _examine(Cache(root=root), tmp_path, **named)
    assert answers["cache"].state == "missing"
    assert answers["cache"].found == f"{place} is not a folder"
    assert [name for name, answer in answers.items() if answer.state == "missing"] == ["cache"]


def test_an_index_that_answers_is_ok_and_one_that_does_not_is_reported(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _examine(cache, tmp_path)["index"].state == "warning"
    root = tmp_path / "index"
    publish(root, "pip", "1.0")
    with serve(root) as url:
        monkeypatch.setenv("PIP_INDEX_URL", f"{url}/simple")
        assert _examine(cache, tmp_path)["index"].state == "ok"
        monkeypatch.setenv("PIP_INDEX_URL", f"{url}/elsewhere")
        assert "HTTP 404" in _examine(cache, tmp_path)["index"].found


def test_an_index_without_pip_is_an_index(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "index"
    publish(root, "alpha", "1.0")
    with serve(root) as url:
        monkeypatch.setenv("PIP_INDEX_URL", f"{url}/simple")
        assert _examine(cache, tmp_path)["index"].state == "ok"


def test_the_index_is_asked_as_pip_would_ask_it(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def answer(request: Request) -> HttpAnswer:
        asked.append(request.path)
        return HttpAnswer()

    with serve(None, answer) as proxy:
        monkeypatch.setenv("PIP_INDEX_URL", "http://index.invalid/simple")
        monkeypatch.setenv("PIP_PROXY", proxy)
        assert _examine(cache, tmp_path)["index"].state == "ok"
    assert asked == ["http://index.invalid/simple/pip/"]
    monkeypatch.setenv("PIP_INDEX_URL", tmp_path.as_uri())
    assert _examine(cache, tmp_path)["index"].state == "ok"
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "gone").as_uri())
    assert "no folder" in _examine(cache, tmp_path)["index"].found


def test_a_network_that_says_nothing_does_not_keep_anyone_waiting(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/simple")
        # The server stays as it is: waiting for it would never end.
        answers = _examine(cache, tmp_path)
    assert answers["index"].state == "warning"
    assert is_ready(list(answers.values()))


def test_a_missing_program_is_needed_or_not(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    answers = _examine(cache, tmp_path)
    assert answers["git"].state == "missing"
    assert answers["gpu"].state in ("ok", "optional", "warning")
    assert not is_ready(list(answers.values()))


def test_a_git_that_does_not_work_is_missing(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "echo 'xcrun: error: no developer tools' >&2\nexit 1\n"
    program = write_program(tmp_path / "bin" / "git", script)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    assert "fails" in _examine(cache, tmp_path)["git"].found


def test_an_engine_is_found_as_a_build_finds_it(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _examine(cache, tmp_path)["docker"].state == "optional"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/engine.sock")
    engine = CannedEngine(api_version="1.46", ping_headers={"Builder-Version": "2"})
    with served(engine, socket=tmp_path / "engine.sock"):
        assert _examine(cache, tmp_path)["docker"].found == "of a test (API 1.46), with BuildKit"
    monkeypatch.delenv("DOCKER_HOST")
    monkeypatch.setenv("DOCKER_CONTEXT", "nowhere")
    answer = _examine(cache, tmp_path)["docker"]
    assert (answer.state, answer.found) == (
        "optional",
        "there is no Docker context named 'nowhere'",
    )


@pytest.mark.parametrize("headers", [{"Builder-Version": "1"}, {"OSType": "windows"}])
def test_an_engine_without_buildkit_is_not_ok(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
) -> None:
    with served(CannedEngine(ping_headers=headers)) as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        answer = _examine(cache, tmp_path)["docker"]
    assert answer.state == "warning"
    assert "no image can be built" in answer.found
    assert "BuildKit" in answer.found
    assert answer.remedy


def test_a_place_that_cannot_be_written_is_blamed_on_what_names_it(
    cache: Cache, tmp_path: Path
) -> None:
    def answers(cache: Cache, home: Path, **environment: str) -> dict[str, Answer]:
        return {answer.name: answer for answer in examine(cache, home, environment)}

    nowhere = Path("/proc/nothing-can-be-made-here")
    unset = answers(cache, nowhere)
    assert unset["HOME"].state == "missing"
    assert "is not set" in unset["HOME"].found
    assert "COMFY_CACHE_ROOT" not in unset["HOME"].found + unset["HOME"].remedy
    assert "COMFY_HOME" in answers(cache, nowhere, HOME="/home/me")["links"].remedy
    of_cache = answers(Cache(root=nowhere), tmp_path, HOME="/home/me")["links"]
    assert "COMFY_CACHE_ROOT" in of_cache.remedy


def test_an_output_mode_that_a_run_refuses_is_reported(cache: Cache, tmp_path: Path) -> None:
    assert _examine(cache, tmp_path, OUTPUT_MODE="fax")["OUTPUT_MODE"].state == "warning"
    assert "OUTPUT_MODE" not in _examine(cache, tmp_path, OUTPUT_MODE="gcs")


def test_a_tree_that_lost_its_record_is_reported(cache: Cache, tmp_path: Path) -> None:
    (cache.trees / "node@abc").mkdir(parents=True)
    answer = _examine(cache, tmp_path)["cache"]
    assert answer.state == "warning"
    assert "node@abc" in answer.found


def test_the_command_ends_with_what_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMFY_CACHE_ROOT", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run_command_line(["doctor", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["ready"] is True
    monkeypatch.setenv("COMFY_CACHE_ROOT", str(tmp_path / "file"))
    (tmp_path / "file").touch()
    assert run_command_line(["doctor"]) == 3
    assert "MISSING  COMFY_CACHE_ROOT" in capsys.readouterr().out
