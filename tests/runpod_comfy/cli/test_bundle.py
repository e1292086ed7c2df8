"""`bundle create` with a file in its way."""

from __future__ import annotations

from pathlib import Path

import pytest

from runpod_comfy.cli.app import run_command_line


def test_a_spec_named_as_the_output_is_left_alone_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "versions" / "x.json"
    spec.parent.mkdir()
    spec.write_text("not a spec")
    named = ["bundle", "create", "x", "--project", str(tmp_path), "-o", str(spec)]
    assert run_command_line(named) == 2
    assert f"{spec} already exists and is not a bundle" in capsys.readouterr().err
    assert spec.read_text() == "not a spec"
