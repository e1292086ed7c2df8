"""The other layout: that it is one, and that it is given what ours has."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path

from benchmarks.worker_image import WorkerImage

_IMAGE = WorkerImage(
    base="debian:12",
    python="3.11",
    core="http://here/core.tar",
    nodes=["http://here/one-1.zip", "http://here/two-1.zip"],
    node_variables={"UV_NO_INDEX": "1", "UV_FIND_LINKS": "http://here/"},
    pins="numpy==2\n",
    variables={"UV_DEFAULT_INDEX": "http://index/simple"},
    workflow={"1": {}},
)


def test_all_nodes_are_installed_by_one_step_that_a_new_commit_changes() -> None:
    moved = replace(_IMAGE, nodes=["http://here/one-1.zip", "http://here/two-2.zip"])
    before, after = (each.dockerfile().splitlines() for each in (_IMAGE, moved))
    changed = [number for number, line in enumerate(before) if line != after[number]]
    assert len(changed) == 1
    assert before[changed[0]].startswith("RUN ")
    assert "one-1.zip" in before[changed[0]]
    # What follows would run again too.
    assert all(line.startswith(("CMD", "")) for line in before[changed[0] + 1 :])


def test_the_step_of_the_nodes_asks_no_index_and_has_no_cache() -> None:
    (step,) = [line for line in _IMAGE.dockerfile().splitlines() if "custom_nodes" in line]
    assert "UV_FIND_LINKS='http://here/' UV_NO_INDEX='1'" in step
    assert "--mount" not in step
    assert "index/simple" not in step


def test_the_context_holds_every_file_that_the_dockerfile_copies(tmp_path: Path) -> None:
    uv = tmp_path / "uv"
    uv.write_bytes(b"program")
    with tarfile.open(fileobj=io.BytesIO(_IMAGE.context(uv))) as context:
        names = context.getnames()
        dockerfile = context.extractfile("Dockerfile")
        assert dockerfile is not None
        text = dockerfile.read().decode()
    for line in text.splitlines():
        if line.startswith(("ADD", "COPY")):
            *copied, _place = line.split()[1:]
            assert set(copied) <= set(names)
