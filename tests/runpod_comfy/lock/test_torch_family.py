"""Which versions of the torch family belong together."""

from __future__ import annotations

import pytest

from runpod_comfy.lock.torch_family import family_constraints, in_torch_group, newest_whole_minor


def test_a_matching_family_needs_nothing() -> None:
    versions = {"torch": "2.11.0", "torchvision": "0.26.0+cpu", "torchaudio": "2.11.0"}
    assert newest_whole_minor(versions) is None
    assert newest_whole_minor({"torch": "2.15.0"}) is None


def test_the_oldest_member_decides_for_all() -> None:
    versions = {"torch": "2.15.0", "torchvision": "0.29.2", "torchaudio": "2.11.0"}
    assert newest_whole_minor(versions) == 11
    assert family_constraints(11) == ["torch==2.11.*", "torchvision==0.26.*", "torchaudio==2.11.*"]


@pytest.mark.parametrize(
    ("name", "inside"),
    [("torch", True), ("nvidia-cublas", True), ("triton", True), ("torchsde", False)],
)
def test_the_heavy_companions_are_in_the_torch_group(name: str, inside: bool) -> None:
    assert in_torch_group(name) is inside
