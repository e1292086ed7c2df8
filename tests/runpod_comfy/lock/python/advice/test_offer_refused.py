"""Which repository an address belongs to."""

from __future__ import annotations

import pytest

from runpod_comfy.lock.python.advice.offer import repository_of


@pytest.mark.parametrize(
    "address",
    [
        "git+https://github.com/Owner/Name.git",
        "git+https://github.com/Owner/Name.git@v1.0#egg=name",
        "git+https://github.com/owner/name@main",
        "git+ssh://git@github.com/owner/name.git",
        "git@github.com:owner/name.git",
        "https://www.github.com/owner/name/",
        "https://github.com/owner/name#readme",
        "https://github.com/owner/name/archive/refs/tags/v1.zip",
        "https://github.com/owner/name/releases/download/v1/name-1.0-py3-none-any.whl",
        "https://github.com/owner/name/tree/main/python",
    ],
)
def test_an_address_belongs_to_a_repository(address: str) -> None:
    assert repository_of(address) == "github.com/owner/name"


@pytest.mark.parametrize("address", ["", ".", "../name", "file:///home/me/name", "http://[broken"])
def test_a_path_belongs_to_none(address: str) -> None:
    assert repository_of(address) == ""


def test_a_group_of_repositories_is_not_one_of_them() -> None:
    assert repository_of("https://gitlab.com/group/sub/name/-/archive/v1/name.zip") == (
        "gitlab.com/group/sub/name"
    )
