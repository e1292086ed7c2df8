"""The rows of jobs where worker-comfyui is not at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import handler_memory
from benchmarks.handlers import Handler, check_repository
from benchmarks.job_rows import memory_rows
from benchmarks.processes import Program
from comfy_errors import UnavailableError


def test_without_its_repository_one_sentence_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="is not at") as caught:
        check_repository(tmp_path / "worker-comfyui")
    assert "git clone https://github.com/runpod-workers/worker-comfyui" in caught.value.in_words()
    assert "--worker" in caught.value.in_words()
    (tmp_path / "handler.py").touch()
    check_repository(tmp_path)


def test_without_its_handler_the_memory_is_not_measured(tmp_path: Path) -> None:
    program = Program(command=("false",), variables={}, folder=tmp_path, log=tmp_path / "log")
    (row,) = memory_rows(Handler(name="ours", program=program), None, lambda _: None)
    assert (row.target, row.verdict) == (10, "not measured")
    assert row.wanted == f"≤ {handler_memory.AT_MOST:g}×"
