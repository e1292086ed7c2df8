from __future__ import annotations

import pytest

from comfy_errors import MismatchError
from runpod_comfy.lock.models.pin import Claim, agreed

A, B = "a" * 64, "b" * 64


def test_what_nobody_says_is_unknown_and_one_word_is_enough() -> None:
    assert agreed("m", []) == (None, None)
    claims = [Claim(by="the spec"), Claim(by="hf://x", sha256=A), Claim(by="gs://x", size=3)]
    assert agreed("m", claims) == (A, 3)


@pytest.mark.parametrize(
    ("claims", "message", "remedy"),
    [
        (
            [Claim(by="the spec", sha256=A), Claim(by="hf://x", sha256=B)],
            f"model m: hf://x has sha256 {B}, the spec says {A}",
            "Correct 'source' or 'checksum'",
        ),
        (
            [Claim(by="the spec", size=1), Claim(by="/x", size=2, is_here=True)],
            "model m: /x has 2 bytes, the spec says 1",
            "Put the right file there, or correct 'size'",
        ),
        (
            [Claim(by="the lock", sha256=A), Claim(by="/x", sha256=B, is_here=True)],
            f"model m: /x has sha256 {B}, the lock says {A}",
            "--upgrade m",
        ),
        (
            [Claim(by="hf://x", sha256=A), Claim(by="https://me:secret@h/x", sha256=B)],
            f"model m: https://***@h/x has sha256 {B}, hf://x has {A}",
            "'mirrors'",
        ),
    ],
)
def test_two_that_disagree_are_both_named(claims: list[Claim], message: str, remedy: str) -> None:
    with pytest.raises(MismatchError) as caught:
        agreed("m", claims)
    assert caught.value.message == message
    assert remedy in caught.value.remedy
