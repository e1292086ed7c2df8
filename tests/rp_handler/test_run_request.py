"""What a run is asked for, by flags and variables."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfy_errors import InvalidInputError
from rp_handler.run_request import make_request


def test_an_empty_id_is_not_the_version_that_happens_to_be_there() -> None:
    environment = {"COMFY_VERSION_NAME": "mine"}
    assert make_request(environment, workflow=Path("w.json")).version_id == "mine"
    with pytest.raises(InvalidInputError, match="the version id is empty"):
        make_request(environment, version_id="", workflow=Path("w.json"))


def test_provenance_is_asked_for_by_a_flag_or_a_variable() -> None:
    workflow = Path("w.json")
    assert not make_request({}, workflow=workflow).has_provenance
    assert make_request({}, workflow=workflow, provenance=True).has_provenance
    assert make_request({"COMFY_PROVENANCE": "1"}, worker=True).has_provenance
    with pytest.raises(InvalidInputError, match="COMFY_PROVENANCE is 'maybe'"):
        make_request({"COMFY_PROVENANCE": "maybe"}, worker=True)
    with pytest.raises(InvalidInputError, match="--provenance cannot be used with --ui"):
        make_request({}, ui=True, provenance=True)


@pytest.mark.parametrize("mode", ["gcs", "s3"])
def test_the_way_without_a_bucket_is_named_where_the_mode_came_from(mode: str) -> None:
    workflow = Path("w.json")
    with pytest.raises(InvalidInputError, match="not set") as caught:
        make_request({"OUTPUT_MODE": mode}, workflow=workflow)
    assert ", or OUTPUT_MODE=base64 to have" in caught.value.remedy
    with pytest.raises(InvalidInputError, match="not set") as caught:
        make_request({"OUTPUT_MODE": "base64"}, workflow=workflow, output=mode)
    assert ", or --output base64 to have" in caught.value.remedy


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    workflow = Path("~/w.json")
    request = make_request(
        {}, workflow=workflow, output_dir=Path("~/out"), models_dir=Path("~/models")
    )
    assert request.workflow == tmp_path / "w.json"
    assert request.output_dir == tmp_path / "out"
    assert request.models_dir == tmp_path / "models"
    request = make_request({"MODELS_DIR": "~/shared"}, workflow=workflow)
    assert request.models_dir == tmp_path / "shared"
