"""Files of web servers that refuse them, or have something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfy_models.sources.errors import AccessDeniedError, NotAModelError
from comfy_models.sources.kinds import source_for
from tests.comfy_models.sources.reached import hosts_with
from tests.http_server import Answer, serve


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "needs a login: it answered 401"),
        (403, "refuses access (it answered 403)"),
    ],
)
def test_a_refusal_is_not_taken_for_a_missing_login(
    tmp_path: Path, status: int, message: str
) -> None:
    with (
        serve(answering=lambda _: Answer(status=status)) as url,
        pytest.raises(AccessDeniedError) as caught,
    ):
        source_for(f"{url}/x", hosts_with(tmp_path, {})).pin()
    assert caught.value.message == f"{url}/x {message}"


def test_a_web_page_is_not_pinned_as_a_model(tmp_path: Path) -> None:
    page = b"<!doctype html><title>Sign in</title>"
    with (
        serve(answering=lambda _: Answer(body=page)) as url,
        pytest.raises(NotAModelError) as caught,
    ):
        source_for(f"{url}/x.safetensors", hosts_with(tmp_path, {})).pin()
    assert caught.value.message == f"{url}/x.safetensors is a web page ('Sign in'), not a model"
