"""The handler's packages in images have the versions that the tests run with."""

from __future__ import annotations

from typing import Any

import pytest

from handler_lock import handler_lock, lock_text, locked_by_name, required_names
from runpod_comfy.lock.python.wheels import HANDLER_LOCK


def test_the_lock_is_that_of_the_default_lock() -> None:
    assert HANDLER_LOCK.read_text() == lock_text(required_names(), locked_by_name()), (
        "lockfiles/default.lock or the requirements changed; write the handler's lock again: "
        ".venv/bin/python scripts/handler_lock.py"
    )


def _locked(name: str, *requires: str, wheels: tuple[str, ...] = ("py3-none-any",)) -> Any:
    files = [f"{name}-1.0-{tag}.whl" for tag in wheels] + [f"{name}-1.0.tar.gz"]
    return {
        "project_name": name,
        "version": "1.0",
        "requires_dists": list(requires),
        "artifacts": [{"url": f"https://host/{file}", "hash": file} for file in files],
    }


def _by_name(*locked: Any) -> dict[str, Any]:
    return {each["project_name"]: each for each in locked}


def test_what_is_needed_comes_along_with_its_extras_and_nothing_else_does() -> None:
    locked = _by_name(
        _locked("alpha", "beta[fast]>=1", "windows; sys_platform == 'win32'"),
        _locked("beta", 'gamma; extra == "fast"', 'delta; extra == "slow"'),
        *map(_locked, ("gamma", "delta", "windows", "unasked")),
    )
    found = handler_lock(["alpha"], locked).distributions
    assert [each.name for each in found] == ["alpha", "beta", "gamma"]


def test_only_wheels_of_images_are_listed() -> None:
    tags = (
        "cp311-abi3-manylinux_2_28_x86_64",
        "cp311-abi3-manylinux_2_28_aarch64",
        "cp311-abi3-macosx_11_0_arm64",
        "cp310-cp310-manylinux_2_28_x86_64",
    )
    (found,) = handler_lock(["alpha"], _by_name(_locked("alpha", wheels=tags))).distributions
    assert [file.name for file in found.files] == sorted(f"alpha-1.0-{tag}.whl" for tag in tags[:2])


def test_what_some_pythons_need_has_a_marker() -> None:
    locked = _by_name(_locked("alpha", "beta; python_version < '3.12'"), _locked("beta"))
    alpha, beta = handler_lock(["alpha"], locked).distributions
    assert alpha.marker is None
    assert beta.marker is not None
    assert "3.11" in beta.marker
    assert "3.12" not in beta.marker


def test_a_package_without_a_wheel_for_some_image_is_refused() -> None:
    tags = ("cp311-abi3-manylinux_2_28_x86_64",)
    with pytest.raises(ValueError, match="alpha has no wheel for Python 3.11 on linux-aarch64"):
        handler_lock(["alpha"], _by_name(_locked("alpha", wheels=tags)))
