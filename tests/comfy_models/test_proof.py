from __future__ import annotations

from pathlib import Path

from comfy_errors import MismatchError
from comfy_models.proof import ProvenModel, Report
from tests.model_downloads import Model

SMALL = Model(target_path="vae/a.bin", sha256="a" * 64, size=7, sources=[])
LARGE = Model(target_path="loras/large.bin", sha256="b" * 64, size=70_000, sources=[])
REPORT = Report(
    about="2 models",
    found=[
        ProvenModel(model=SMALL, path=Path("/m/a"), state="present", linked=True),
        ProvenModel(model=LARGE, path=Path("/m/b"), state="wrong", reason="has 3 bytes"),
    ],
    states=("present", "missing", "wrong"),
    keys=("path", "linked"),
    columns=("state", "target_path", "size", "linked"),
)


def test_the_table_has_a_line_for_each_model() -> None:
    assert REPORT.table() == [
        "present  vae/a.bin        7 bytes  linked",
        "wrong    loras/large.bin  70.0 kB",
    ]
    assert Report(columns=("state",)).table() == []


def test_the_summary_counts_each_state() -> None:
    assert REPORT.summary() == "2 models: 1 present, 1 wrong"
    assert Report(about="0 models").summary() == "0 models: none needed"
    assert Report(error=MismatchError("no lock")).summary() == ""


def test_the_document_has_every_state_and_the_keys_that_were_named() -> None:
    document = REPORT.document()
    assert (document["holds"], document["error"]) == (True, None)
    assert document["counts"] == {"present": 1, "missing": 0, "wrong": 1}
    assert document["models"][0] == {
        "state": "present",
        "reason": "",
        "target_path": "vae/a.bin",
        "sha256": "a" * 64,
        "size": 7,
        "path": "/m/a",
        "linked": True,
    }
