"""The handler's packages, as the lock that comes with this program has them."""

from __future__ import annotations

import pytest

from comfy_errors import InvalidInputError
from runpod_comfy.lock.python.fit import fits_platform, fits_python
from runpod_comfy.lock.python.wheels import handler_lock, handler_packages, platform_files


@pytest.mark.parametrize("python", handler_lock().pythons)
@pytest.mark.parametrize("platform", handler_lock().platforms)
def test_every_package_has_wheels_that_fit_and_nothing_else(python: str, platform: str) -> None:
    packages = handler_packages(python, platform)
    assert {"aiohttp", "runpod"} <= {each.name for each in packages.wheels}
    assert packages.torch == []
    assert all(each.files and each.marker is None for each in packages.wheels)
    for each in platform_files(packages, platform):
        assert each.file.name.endswith(".whl")
        assert fits_python(each.file.name, python)
        assert fits_platform(each.file.name, platform)


def test_what_only_some_pythons_need_is_left_out_elsewhere() -> None:
    def names(python: str) -> set[str]:
        return {each.name for each in handler_packages(python, "linux-x86_64").wheels}

    markers = {each.name: each.marker for each in handler_lock().distributions if each.marker}
    assert names("3.11") ^ names("3.14") == set(markers)


@pytest.mark.parametrize(
    ("python", "platform"), [("3.10", "linux-x86_64"), ("3.11", "macos-arm64")]
)
def test_a_place_where_the_handler_does_not_run_is_refused(python: str, platform: str) -> None:
    with pytest.raises(InvalidInputError, match=f"Python {python} on {platform}") as raised:
        handler_packages(python, platform)
    assert "options.python" in raised.value.remedy
