"""`verify-picture` on what a real engine made: what a person sees, and what to run next."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from rp_handler.pictures.texts import with_texts
from tests.media_files import noise, picture
from tests.painted_version import PaintedVersion

# They resolve packages.
pytestmark = pytest.mark.slow


@pytest.fixture
def made(painted: PaintedVersion, tmp_path: Path) -> Path:
    """A picture of a run with `--provenance`."""
    painted.paint(picture(noise(), said="an earlier prompt"), "made.png")
    workflow = painted.workflow("made", "made.png")
    options = ("--workflow", workflow, "--output-dir", tmp_path / "outputs")
    done = painted.program("run", "demo", *options, "--provenance", "--json")
    (entry,) = done.document()["images"]
    return Path(entry["path"])


def test_a_picture_says_how_to_make_it_again(
    painted: PaintedVersion, made: Path, tmp_path: Path
) -> None:
    graph = tmp_path / "again.json"
    done = painted.program("verify-picture", made, "--extract", graph)
    assert done.code == 0, done.err
    assert "different" not in done.out
    assert f"here  its version is realized at {painted.home}" in done.out
    command = f"runpod-comfy run demo --workflow {graph}"
    assert f"This machine can make it again: {command}\n" in done.err

    workflow = painted.project / "workflows/made.json"
    assert json.loads(graph.read_text()) == json.loads(workflow.read_text())
    assert painted.repro(workflow, "--mode", "record").code == 0
    baseline = ("--baseline", workflow.with_name("made.baseline.json"))
    again = painted.program("repro", *shlex.split(command)[2:], *baseline)
    assert again.out == "equal  Image 1 of node 1 (made.png)\n", again.err


def test_what_is_missing_is_an_error_with_the_next_step(
    painted: PaintedVersion, made: Path
) -> None:
    lock = painted.project / "lockfiles/comfy-demo.lock.json"
    copy = Path(painted.program.variables["COMFY_CACHE_ROOT"], "resolved/demo.lock.json")
    kept = lock.read_bytes()
    try:
        lock.unlink()
        copy.unlink()
        done = painted.program("verify-picture", made)
        assert "no lock of demo here is sha256:" in done.failed_with(3)
        document = painted.program("verify-picture", made, "--json")
        assert document.code == 3
        assert json.loads(document.out)["can_be_made"] is False
    finally:
        lock.write_bytes(kept)
        copy.write_bytes(kept)


def test_a_graph_that_was_edited_is_a_mismatch(painted: PaintedVersion, made: Path) -> None:
    changed = with_texts(made.read_bytes(), {"prompt": '{"1": {"class_type": "A", "inputs": {}}}'})
    assert changed is not None
    made.write_bytes(changed[0])
    done = painted.program("verify-picture", made)
    assert "the graph was changed after the picture was made" in done.failed_with(4)


def test_a_file_is_not_replaced_and_a_picture_without_provenance_is_refused(
    painted: PaintedVersion, made: Path, tmp_path: Path
) -> None:
    (there := tmp_path / "mine.json").write_text("{}")
    done = painted.program("verify-picture", made, "--extract", there)
    assert f"{there} exists already" in done.failed_with(2)
    assert there.read_text() == "{}"
    plain = painted.home / "input/made.png"
    assert "does not say what it was made from" in painted.program(
        "verify-picture", plain
    ).failed_with(2)
