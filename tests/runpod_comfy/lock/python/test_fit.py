"""Which markers and wheels a platform of the spec keeps."""

from __future__ import annotations

import pytest

from runpod_comfy.lock.python.fit import brief_marker, fits_python

BOTH = ["linux-x86_64", "macos-arm64"]


@pytest.mark.parametrize(
    ("marker", "brief"),
    [
        (None, None),
        ("python_full_version < '3.12'", None),
        ("sys_platform == 'darwin'", "sys_platform == 'darwin' and platform_machine == 'arm64'"),
        (
            "platform_system != 'Darwin'",
            "sys_platform == 'linux' and platform_machine == 'x86_64'",
        ),
        ("python_full_version < '3.11.3'", "python_full_version < '3.11.3'"),
    ],
)
def test_a_marker_is_said_in_the_fewest_words(marker: str | None, brief: str | None) -> None:
    assert brief_marker(marker, python="3.11", platforms=BOTH) == brief


@pytest.mark.parametrize(
    ("file_name", "fits"),
    [
        ("a-1-py3-none-any.whl", True),
        ("a-1-py2.py3-none-any.whl", True),
        ("a-1-cp311-cp311-manylinux_2_17_x86_64.whl", True),
        ("a-1-cp39-abi3-macosx_11_0_arm64.whl", True),
        ("a-1-cp312-cp312-manylinux_2_17_x86_64.whl", False),
        ("a-1-cp312-abi3-manylinux_2_17_x86_64.whl", False),
        ("a-1-cp310-cp310-manylinux_2_17_x86_64.whl", False),
        ("a-1-cp311-cp311-win_amd64.whl", False),
        ("a-1-py312-none-any.whl", False),
        ("a-1.tar.gz", True),
        ("nonsense.whl", False),
    ],
)
def test_only_wheels_that_python_may_install_are_locked(file_name: str, fits: bool) -> None:
    assert fits_python(file_name, "3.11") is fits
