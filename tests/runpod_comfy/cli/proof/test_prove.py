"""`prove` as a person meets it, on a real engine: its table, its document, its exit codes."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from junit_reports import Count, count_reports
from tests.graphs import node, write_graph
from tests.media_files import noise, picture, with_one_step
from tests.painted_version import PaintedVersion, painted_version
from tests.program import wait_for

# They resolve packages.
pytestmark = pytest.mark.slow

PICTURE = picture(noise())
NEAR = picture(with_one_step(noise()))

_RANDOM = """
import uuid
from pathlib import Path

class Chance:
    required = {}
    output_node = True

    async def run(self, core, node_id, inputs):
        (core.output / "chance.txt").write_text(uuid.uuid4().hex)
        return {"files": [{"filename": "chance.txt", "subfolder": "", "type": "output"}]}, None


NODE_CLASS_MAPPINGS = {"Chance": Chance}
"""
_INSTALL = """
import pathlib, uuid
pathlib.Path("chosen.txt").write_text(uuid.uuid4().hex)
"""


def _lines(told: str) -> dict[str, str]:
    """The verdict of each part, by its name."""
    rows = [line for line in told.splitlines() if not line.startswith(" ")]
    found = {}
    for row in rows:
        verdict, name, *_ = row.replace("not asked for", "not-asked-for").split()
        found[name] = verdict
    return found


def _left_behind(painted: PaintedVersion) -> list[str]:
    cache = Path(painted.program.variables["COMFY_CACHE_ROOT"])
    roots = [path.read_text() for path in (cache / "roots").glob("*.json")]
    return [
        *(path.name for path in (cache / "tmp").iterdir() if path.suffix != ".lock"),
        *(root for root in roots if "prove-" in root),
    ]


def _parts(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {part["part"]: part for part in document["parts"]}


def test_a_version_is_proved_with_its_baselines_and_left_as_it_is(
    painted: PaintedVersion, tmp_path: Path
) -> None:
    shutil.rmtree(painted.project / "workflows", ignore_errors=True)
    painted.paint(PICTURE)
    recorded = painted.workflow("good")
    assert painted.repro(recorded, "--mode", "record").code == 0
    painted.workflow("unrecorded")
    lock = painted.project / "lockfiles" / "comfy-demo.lock.json"
    before = lock.stat().st_mtime_ns, lock.read_bytes()

    done = painted.program("prove", "demo", "--junit", tmp_path / "r.xml")
    assert done.code == 0, done.err
    assert _lines(done.out) == {
        "lock": "equal",
        "core": "equal",
        "node:Painter": "equal",
        "environment": "equal",
        "models": "equal",
        "outputs:good": "equal",
        "image": "not-asked-for",
    }
    assert f"compared with {recorded.with_name('good.baseline.json')}" in done.out
    assert "demo: everything that was made twice is equal" in done.err
    assert count_reports(tmp_path) == Count(passed=6, failed=0)
    assert (lock.stat().st_mtime_ns, lock.read_bytes()) == before
    assert _left_behind(painted) == []

    # Both homes are equal, and neither shows what was recorded.
    painted.paint(NEAR)
    lock.write_bytes(before[1].replace(b"\n", b"\n\n", 1))
    done = painted.program("prove", "demo", "--json")
    lock.write_bytes(before[1])
    assert done.code == 4, done.err
    document = json.loads(done.out)
    parts = _parts(document)
    assert document["proved"] is False
    assert [name for name, part in parts.items() if part["verdict"] == "differs"] == [
        "lock",
        "outputs:good",
    ]
    assert parts["lock"]["differences"] == ["only its bytes: resolve writes it again"]
    assert parts["outputs:good"]["homes"]["holds"] is True
    assert [one["holds"] for one in parts["outputs:good"]["baseline"]] == [False, False]
    assert "the baseline: Image 1 of node 1: different: max 1 of 255" in str(parts)


def test_what_is_different_each_time_is_named(tmp_path: Path) -> None:
    version = painted_version(tmp_path / "project", tmp_path)
    folder = version.project / "versions"
    (folder / "Gambler").mkdir()
    (folder / "Gambler" / "__init__.py").write_text(_RANDOM)
    (folder / "Gambler" / "install.py").write_text(_INSTALL)
    spec = json.loads((folder / "demo.json").read_text())
    spec["custom_nodes"].append({"name": "Gambler", "repo": "Gambler"})
    spec["options"]["run_install_scripts"] = ["Gambler"]
    (folder / "demo.json").write_text(json.dumps(spec))
    graph = write_graph(tmp_path / "chance.json", {"1": node("Chance")})

    done = version.program("prove", "demo", "--workflow", graph)
    assert done.code == 4, done.err
    found = _lines(done.out)
    differing = [name for name, verdict in found.items() if verdict == "differs"]
    assert differing == ["node:Gambler", "install:Gambler", "outputs:chance"]
    assert found["lock"] == found["environment"] == "equal"
    assert "ComfyUI/custom_nodes/Gambler/chosen.txt: " in done.out
    assert "the two homes: File 1 of node 1: different" in done.out
    assert "file 1 of node 1 differs: the node writes it differently each time" in done.out
    assert "not proved: node:Gambler, install:Gambler, outputs:chance" in done.err
    # It had no lock, and has none now.
    assert not (version.project / "lockfiles").exists()
    assert _left_behind(version) == []


def test_an_interrupted_proof_leaves_nothing(painted: PaintedVersion) -> None:
    process = painted.program.start("prove", "demo")
    wait_for(process.stderr, "Realizing the second home")
    process.send_signal(signal.SIGINT)
    _, told = process.communicate()
    assert process.returncode == 130, told
    assert _left_behind(painted) == []


def test_mistakes_are_sentences_before_any_work(painted: PaintedVersion, tmp_path: Path) -> None:
    told = painted.program("prove", "demo", "--base", "cuda").failed_with(2)
    assert "--base is for the image, which is only built with --image" in told
    told = painted.program("prove", "demo", "--junit", tmp_path).failed_with(2)
    assert f"--junit names a folder: {tmp_path}" in told
    told = painted.program("prove", "demo", "--workflow", tmp_path / "no.json").failed_with(3)
    assert "no.json" in told
    assert "Resolving" not in told
