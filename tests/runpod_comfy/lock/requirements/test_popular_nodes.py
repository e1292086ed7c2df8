"""The requirement files of popular nodes, as their authors published them."""

from __future__ import annotations

from benchmarks.many_nodes import NODES
from comfy_files.progress import say_nothing
from runpod_comfy.lock.requirements.read import read_requirements


def test_only_repositories_are_refused() -> None:
    nodes = [(f"node:{path.name}", path) for path in sorted(NODES.iterdir()) if path.is_dir()]
    reading = read_requirements(
        nodes, overridden=frozenset(), applies=lambda _marker: True, say=say_nothing
    )
    assert len(nodes) == 28
    assert len(reading.requirements) > 150
    assert {line.name for line in reading.refused} == {"img2texture", "cstr", "ffmpy"}
    assert all("github.com/WASasquatch" in (line.address or "") for line in reading.refused)
