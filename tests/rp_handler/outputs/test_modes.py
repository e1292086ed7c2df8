from __future__ import annotations

from pathlib import Path

import pytest

from comfy_errors import InvalidInputError, OperationFailedError
from rp_handler.outputs.modes import sink_for


def test_a_folder_that_is_not_writable_is_reported_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OperationFailedError, match="taken/outputs is not writable"):
        sink_for("files", output_dir=tmp_path / "taken" / "outputs", workflow_name="w")


@pytest.mark.parametrize("mode", ["gcs", "s3", "paper"])
def test_another_way_to_deliver_is_refused_with_those_that_there_are(
    tmp_path: Path, mode: str
) -> None:
    with pytest.raises(InvalidInputError, match=mode) as caught:
        sink_for(mode, output_dir=tmp_path, workflow_name="w")
    assert "--output base64 or --output files" in caught.value.remedy
