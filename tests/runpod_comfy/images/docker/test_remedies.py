"""The next step after a layer that did not build, from the end of what it printed."""

from __future__ import annotations

import pytest

from runpod_comfy.images.docker.remedies import step_remedy


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("error: invalid peer certificate: UnknownIssuer", "--ca-bundle"),
        ("SSL: CERTIFICATE_VERIFY_FAILED certificate verify failed", "--ca-bundle"),
        ("dns error: failed to lookup address information", "--network host"),
        ("Temporary failure in name resolution", "--network host"),
        ("process did not complete successfully: exit code: 137", "memory"),
        ("No space left on device (os error 28)", "docker system df"),
        ("could not find bridge docker0", "--network host"),
    ],
)
def test_what_a_step_died_of_is_answered(said: str, remedy: str) -> None:
    assert remedy in step_remedy(said)


def test_a_program_that_is_not_found_is_no_matter_of_registries() -> None:
    assert step_remedy("sh: uv: not found\nexit code: 127") == ""
