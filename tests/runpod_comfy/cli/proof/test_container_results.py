"""What a container's handler prints, by a container that is replaced by its output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from comfy_errors import OperationFailedError
from runpod_comfy.api import images
from runpod_comfy.cli.app import build_parser
from runpod_comfy.cli.proof.runs import runner_of
from runpod_comfy.cli.show.console import Console


@pytest.mark.parametrize("printed", [b"", b"{", b"5", b"[]", b"[" * 100_000])
def test_a_container_that_prints_no_document_gave_no_result(
    monkeypatch: pytest.MonkeyPatch, printed: bytes
) -> None:
    def run_image(*_: object, out: Any, **_options: object) -> int:
        out.write(printed)
        return 0

    monkeypatch.setattr(images, "run_image", run_image)
    arguments = build_parser().parse_args(["repro", "--image", "small:1", "--workflow", "x.json"])
    runner = runner_of(arguments, Console(), output="files")
    with pytest.raises(OperationFailedError, match="the container of small:1 printed no result"):
        runner.run(Path("x.json"))
