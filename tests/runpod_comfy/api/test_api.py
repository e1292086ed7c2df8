"""The Python API: from a spec to a picture, with nothing printed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import runpod_comfy
from comfy_errors import ComfyError, InvalidInputError
from runpod_comfy import create, realize, resolve, run
from tests.graphs import SAVE, write_graph
from tests.program import our_modules
from tests.real_packages import held
from tests.specs import FIXTURE_CORE, core_repository


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with an empty `versions/` and a cache of its own."""
    (tmp_path / "versions").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COMFY_CACHE_ROOT", str(tmp_path / "cache"))
    for name in ("COMFY_HOME", "COMFY_VERSION_NAME", "LOCK_PATH", "MODELS_DIR", "OUTPUT_MODE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_version_is_created_resolved_realized_and_run_without_a_word_printed(
    workspace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    core = core_repository(workspace / "core", FIXTURE_CORE, "aiohttp\npyyaml\n")
    created = create("mine", repo=f"{core.url}@main")
    assert created.path == workspace / "versions/mine.json"
    assert created.written
    spec = json.loads(created.path.read_text())
    created.path.write_text(json.dumps({**spec, "options": {"constraints": held()}}))
    said: list[str] = []
    resolved = resolve("mine", say=said.append)
    assert resolved.lock.version_id == "mine"
    assert resolved.path.is_file()
    assert said
    home = realize("mine", target=str(workspace / "home"))
    assert home.changed
    assert home.target == workspace / "home"
    result = run(
        "mine",
        workflow=write_graph(workspace / "save.json", SAVE),
        output_dir="outputs",
        target=home.target,
    )
    (file,) = result["files"]
    assert Path(file["path"]).read_text() == "hello"
    assert capfd.readouterr() == ("", "")


def test_errors_have_a_sentence_a_next_step_and_the_exit_code(workspace: Path) -> None:
    with pytest.raises(ComfyError) as caught:
        resolve("unknown")
    assert "unknown" in caught.value.message
    assert caught.value.remedy
    assert caught.value.exit_code == 3
    (workspace / "broken.json").write_text("{")
    with pytest.raises(InvalidInputError, match=r"broken\.json"):
        run("mine", workflow=workspace / "broken.json")


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: resolve(Path("versions/demo.json")), "resolve, argument 1"),  # type: ignore[arg-type]
        (lambda: resolve(upgrade="torch"), "resolve, argument upgrade"),
        (lambda: create("mine", repo="core", nodes="one"), "create, argument nodes"),
        (lambda: realize(target=3), "realize, argument target"),  # type: ignore[arg-type]
        (lambda: run(workflow={}), "run, argument workflow"),  # type: ignore[arg-type]
    ],
)
def test_an_argument_of_another_type_is_named(
    workspace: Path, call: Callable[[], object], named: str
) -> None:
    with pytest.raises(InvalidInputError, match=named):
        call()


def test_every_argument_of_another_type_is_named(workspace: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"realize, argument \w+: .*; argument \w+: "):
        realize(target=3, lock=4)  # type: ignore[arg-type]


def test_paths_and_objects_are_taken_as_they_are(workspace: Path) -> None:
    core = core_repository(workspace / "core", FIXTURE_CORE, "")
    (workspace / "a.bin").write_bytes(b"weights")
    model = {"source": "a.bin", "target_subdir": "upscale_models"}
    created = create("mine", repo=Path(core.url.removeprefix("file://")), models=[model])
    (written,) = json.loads(created.path.read_text())["models"]
    assert written["target_subdir"] == "upscale_models"


def test_importing_it_loads_nothing_that_takes_time() -> None:
    asked = "import sys, runpod_comfy; print(sorted(set(sys.modules) & {'pydantic', 'docker'}))"
    done = subprocess.run(
        [sys.executable, "-c", asked],
        env=our_modules(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"


def test_every_name_is_there_and_no_other() -> None:
    for name in runpod_comfy.__all__:
        assert callable(getattr(runpod_comfy, name))
    with pytest.raises(AttributeError, match="nothing"):
        runpod_comfy.nothing  # noqa: B018
