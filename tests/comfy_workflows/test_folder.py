from __future__ import annotations

from pathlib import Path

from comfy_workflows.folder import baseline_path, workflow_files


def test_a_baseline_is_no_workflow(tmp_path: Path) -> None:
    for name in ("b.json", "a.json", "a.baseline.json", "notes.md"):
        (tmp_path / name).touch()
    (tmp_path / "a.baseline").mkdir()
    assert workflow_files(tmp_path) == [tmp_path / "a.json", tmp_path / "b.json"]
    assert baseline_path(tmp_path / "a.json") == tmp_path / "a.baseline.json"
