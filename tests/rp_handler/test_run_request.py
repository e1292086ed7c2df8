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
