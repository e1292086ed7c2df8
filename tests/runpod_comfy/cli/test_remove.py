"""`remove` as a person sees it: what it will delete, with names as they can be shown."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from comfy_home.manifest import Manifest, save_manifest
from runpod_comfy.cli.app import run_command_line


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home in a folder whose name has control characters, with a node that was added by hand."""
    monkeypatch.setenv("COMFY_CACHE_ROOT", str(tmp_path / "cache"))
    home = tmp_path / "home\x1b[2J"
    (home / "ComfyUI/custom_nodes/own\nnode\udcff").mkdir(parents=True)
    (home / "ComfyUI/main.py").touch()
    save_manifest(home, Manifest(version_id="demo"))
    return home


def _shown(home: Path) -> str:
    return str(home).replace("\x1b", "\\x1b")


@pytest.mark.parametrize("is_asked", [False, True])
def test_control_characters_in_names_are_escapes_in_the_plan(
    home: Path,
    is_asked: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    terminal, screen = os.openpty()
    os.write(terminal, b"n\n")
    with os.fdopen(screen) as answers:
        monkeypatch.setattr(sys, "stdin", answers)
        options = [] if is_asked else ["--dry-run"]
        code = run_command_line(["remove", "--target", str(home), "--remove-root", *options])
    os.close(terminal)
    assert code == int(is_asked)
    shown = capsys.readouterr()
    lines = (shown.err if is_asked else shown.out).splitlines()
    own = f"{_shown(home)}/ComfyUI/custom_nodes/own\\nnode\\udcff"
    assert f"keep {own}, which is not part of the version" in lines
    assert f"remove {_shown(home)} if it is empty" in lines
    assert "\x1b" not in shown.out + shown.err
    assert home.is_dir()


def test_what_was_kept_is_named_with_escapes(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["remove", "--target", str(home), "--yes"]) == 0
    told = capsys.readouterr().out
    assert told.endswith("; kept: ComfyUI, ComfyUI/custom_nodes/own\\nnode\\udcff\n")
