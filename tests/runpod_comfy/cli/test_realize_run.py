"""`run` while a user works on a node's folder: a real engine, a real repository."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from comfy_home.tree_hash import tree_hash
from rp_handler.engine.process import free_port
from runpod_comfy.cli.app import run_command_line
from tests.git_repositories import GitRepository
from tests.graphs import node, write_graph
from tests.program import Program, wait_for
from tests.real_packages import held
from tests.specs import FIXTURE_CORE, core_repository

_NODE = """
class %(name)s:
    required = {}
    output_node = True

    async def run(self, core, node_id, inputs):
        return {"text": ["%(text)s"]}, None


NODE_CLASS_MAPPINGS = {"%(name)s": %(name)s}
"""


class Project:
    """A version with a core from git and two nodes from folders: `brush`'s pin is in the spec."""

    def __init__(self, folder: Path, core: GitRepository) -> None:
        self.folder = folder
        self.core = core
        self.spec = folder / "versions" / "mine.json"
        self.lock_path = folder / "lockfiles" / "comfy-mine.lock.json"
        self.write("Painter", "one")
        self.write("Brush", "fine")
        brush = {"name": "Brush", "repo": "Brush", "commit": tree_hash(self.node("Brush"))}
        document = {
            "schema_version": 2,
            "version_id": "mine",
            "comfy": core.at(),
            "custom_nodes": [{"name": "Painter", "repo": "Painter"}, brush],
            "options": {"constraints": held()},
        }
        self.spec.write_text(json.dumps(document))
        write_graph(folder / "graph.json", {"1": node("Painter"), "2": node("Brush")})

    def node(self, name: str) -> Path:
        return self.folder / "versions" / name

    def write(self, name: str, text: str) -> None:
        self.node(name).mkdir(parents=True, exist_ok=True)
        (self.node(name) / "__init__.py").write_text(_NODE % {"name": name, "text": text})

    @property
    def lock(self) -> Any:
        return json.loads(self.lock_path.read_text())

    def run(self, *flags: str) -> int:
        home = str(self.folder / "home")
        graph = str(self.folder / "graph.json")
        return run_command_line(["run", "mine", "--target", home, "--workflow", graph, *flags])


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("COMFY_CACHE_ROOT", str(tmp_path / "cache"))
    for name in ("COMFY_HOME", "COMFY_VERSION_NAME", "LOCK_PATH", "MODELS_DIR", "OUTPUT_MODE"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "work"
    core = core_repository(tmp_path / "core", FIXTURE_CORE, "aiohttp\npyyaml\n")
    project = Project(folder, core)
    monkeypatch.chdir(folder)
    return project


@pytest.mark.slow
def test_an_edited_node_is_reported_and_update_runs_it(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert project.run() == 0
    told = capsys.readouterr()
    assert told.out == "text of node 1: one\ntext of node 2: fine\n"
    assert "Warning" not in told.err
    before, spec = project.lock, project.spec.read_bytes()

    project.write("Painter", "two")
    project.core.commit("Newer")
    assert project.run() == 0
    told = capsys.readouterr()
    assert told.out == "text of node 1: one\ntext of node 2: fine\n"
    warning = f"Warning: Painter: {project.node('Painter')} was changed since it was locked; "
    assert warning in told.err
    home = project.folder / "home"
    assert f"runpod-comfy realize mine --target {home} --update" in told.err
    assert project.lock == before

    # Nothing has to be asked: the requirements are what they were.
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple/")
    shutil.move(project.core.path, project.core.path.with_name("elsewhere"))
    assert project.run("--update") == 0
    told = capsys.readouterr()
    assert told.out == "text of node 1: two\ntext of node 2: fine\n"
    assert "Warning" not in told.err
    after = project.lock
    assert project.spec.read_bytes() == spec
    assert after["custom_nodes"][0].pop("commit") == tree_hash(project.node("Painter"))
    for document in (before, after):
        for key in ("commit", "tree_hash"):
            document["custom_nodes"][0].pop(key, None)
    assert after == before

    # A pin of the spec moves there.
    project.write("Brush", "broad")
    old, new = json.loads(spec)["custom_nodes"][1]["commit"], tree_hash(project.node("Brush"))
    assert project.run("--update") == 0
    assert capsys.readouterr().out == "text of node 1: two\ntext of node 2: broad\n"
    assert project.spec.read_bytes() == spec.replace(old.encode(), new.encode())

    lock = project.lock_path.stat().st_mtime_ns
    assert project.run("--update") == 0
    assert project.lock_path.stat().st_mtime_ns == lock


@pytest.mark.slow
def test_a_home_in_use_is_neither_changed_nor_removed(project: Project) -> None:
    program = Program(folder=project.folder)
    home = project.folder / "home"
    at = ("--target", home)
    graph = project.folder / "graph.json"
    assert program("realize", "mine", *at).code == 0
    with program.start("run", "mine", *at, "--ui", "--port", str(free_port())) as server:
        wait_for(server.stderr, "ComfyUI is at")
        # Nothing to do, and a second run: neither waits.
        assert program("realize", "mine", *at).code == 0
        assert program("run", "mine", *at, "--workflow", graph).code == 0
        assert program("realize", "mine", *at, "--verify").code == 0

        refused = program("remove", *at, "--yes", "--json")
        assert refused.code == 1
        document = json.loads(refused.out)
        assert document["error"].startswith(f"{home} is in use by process {server.pid} (")
        assert document["error"].endswith("; nothing was removed")
        assert f"kill {server.pid}" in document["remedy"]

        project.write("Painter", "two")
        with program.start("realize", "mine", *at, "--update") as update:
            said = wait_for(update.stderr, "Waiting for")
            assert f"process {server.pid} (" in said
            node = home / "ComfyUI/custom_nodes/Painter/__init__.py"
            assert '"one"' in node.read_text()
            # The engine that it leaves behind still uses the home until its guard has ended it.
            server.kill()
            assert update.wait(timeout=60) == 0
            assert '"two"' in node.read_text()
    assert program("remove", *at, "--yes", "--remove-root").code == 0
    assert not home.exists()
