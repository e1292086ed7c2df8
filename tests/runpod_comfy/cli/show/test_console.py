from __future__ import annotations

import json
import os
import warnings
from pathlib import Path

import pytest

from comfy_http.logins import LoginsWarning
from runpod_comfy.cli.show.console import Console, as_json


def test_control_characters_are_printed_as_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.say("Warning: node \x1b[2J")
    console.result("a\tb\nc\x9b", None)
    shown = capsys.readouterr()
    assert shown.err == "Warning: node \\x1b[2J\n"
    assert shown.out == "a\tb\nc\\x9b\n"


def test_a_name_that_is_not_text_is_an_escape_in_json() -> None:
    document = {"path": Path(os.fsdecode(b"a\xff\x1b\xc3\xa9"))}
    shown = as_json(document)
    assert shown == '{\n  "path": "a\\udcff\\u001b\u00e9"\n}'
    assert json.loads(shown) == {"path": str(document["path"])}


def test_logins_that_cannot_be_read_are_said_above_the_status_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Console, "on_a_terminal", True)
    with Console().arrivals() as (_, progress):
        progress.expect("trees", count=1)
        warnings.warn("the file", LoginsWarning, stacklevel=1)
    shown = capsys.readouterr().err
    assert "\r\x1b[KWarning: the file\n" in shown
