from __future__ import annotations

import time
from pathlib import Path

import pytest

import rp_handler
from rp_handler.modes.boot import Boot
from tests.program import start_python


def test_stages_follow_one_another_and_add_up() -> None:
    boot = Boot({})
    time.sleep(0.05)
    boot.mark("handler")
    time.sleep(0.1)
    passed_ms = round((time.monotonic() - rp_handler.BEGAN_S) * 1000)
    boot.mark("warm_up")
    assert list(boot.stages_ms) == ["container", "handler", "warm_up"]
    assert boot.stages_ms["warm_up"] >= 100
    assert boot.total_ms == sum(boot.stages_ms.values())
    assert boot.total_ms >= passed_ms - 1000
    shown = boot.in_words()
    assert shown.startswith("Ready for jobs after ")
    assert f"warm-up {boot.stages_ms['warm_up'] / 1000:.1f}" in shown


def test_the_time_before_the_handlers_code_counts() -> None:
    program = (
        "import time; time.sleep(0.5)\n"
        "from rp_handler.modes.boot import Boot; print(Boot({}).stages_ms['container'])"
    )
    said, _ = start_python("-c", program).communicate(timeout=60)
    assert int(said) >= 400


def test_without_proc_the_container_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", refuse)
    assert Boot({}).stages_ms == {}
