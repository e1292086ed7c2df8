from __future__ import annotations

import pytest

from runpod_comfy.cli.show.console import Console


def test_control_characters_are_printed_as_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.say("Warning: node \x1b[2J")
    console.result("a\tb\nc\x9b", None)
    shown = capsys.readouterr()
    assert shown.err == "Warning: node \\x1b[2J\n"
    assert shown.out == "a\tb\nc\\x9b\n"
