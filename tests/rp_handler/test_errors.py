from __future__ import annotations

import pytest

from comfy_errors import (
    ComfyError,
    InvalidInputError,
    MismatchError,
    OperationFailedError,
    UnavailableError,
)
from rp_handler.errors import JobError, failure_document


@pytest.mark.parametrize(
    ("error", "error_type"),
    [
        (InvalidInputError("m", remedy="r"), "invalid_input"),
        (OperationFailedError("the disk is full", remedy="r"), "execution_error"),
        (UnavailableError("m", remedy="r"), "execution_error"),
        (MismatchError("m", remedy="r"), "execution_error"),
        (JobError("m", remedy="r"), "execution_error"),
    ],
)
def test_only_an_invalid_input_is_called_so(error: ComfyError, error_type: str) -> None:
    assert failure_document(error)["error_type"] == error_type


def test_details_that_runpod_would_lose_are_left_out() -> None:
    error = JobError("m", remedy="Try again.", details={"exception": "x" * 20_000_000})
    document = failure_document(error)
    assert "larger than 1 MB" in document["details"]["left_out"]
    assert document["details"]["remedy"] == "Try again."
