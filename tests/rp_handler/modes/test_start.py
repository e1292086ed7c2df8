from __future__ import annotations

from pathlib import Path

import pytest

from comfy_errors import InvalidInputError
from rp_handler.modes.start import worker_settings


def test_models_of_jobs_and_a_strict_lock_exclude_each_other(tmp_path: Path) -> None:
    both = {"COMFY_LOCKED": "strict", "COMFY_JOB_MODELS": "huggingface.co"}
    with pytest.raises(InvalidInputError, match=r"COMFY_LOCKED=strict .* COMFY_JOB_MODELS"):
        worker_settings(both, tmp_path)
    for name in both:
        alone = worker_settings({name: both[name]}, tmp_path)
        assert (alone.is_locked, alone.models is not None) == (
            name == "COMFY_LOCKED",
            name == "COMFY_JOB_MODELS",
        )
