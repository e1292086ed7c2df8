"""The job that RunPod's tools find in this folder."""

from __future__ import annotations

import json

from rp_handler.job.request import read_job_input
from tests.docs.documents import ROOT


def test_it_is_one_that_the_worker_takes_and_the_documents_show() -> None:
    text = (ROOT / "test_input.json").read_text().strip()
    request = read_job_input(
        json.loads(text)["input"], workflows=ROOT / "workflows", environment={}
    )
    assert not request.warnings
    assert f"`{text}`" in (ROOT / "docs" / "runpod.md").read_text()
