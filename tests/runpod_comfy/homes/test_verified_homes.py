"""The rule of tests/verified_homes.py: no test passes with a home that differs from its lock."""

from __future__ import annotations

import pickle
import subprocess

import pytest

from runpod_comfy.homes.run import realize
from tests.program import start_python
from tests.runpod_comfy.homes.conftest import Version

# As a node would that changes its own code when the check imports it.
_LEAVES_CODE = """
from pathlib import Path

Path(__file__).with_name("more.py").write_text("A = 1")
NODE_CLASS_MAPPINGS = {}
"""
_REALIZE = """
import pickle, sys
from runpod_comfy.homes.run import realize

with open(sys.argv[1], "rb") as stream:
    realize(pickle.load(stream))
"""


@pytest.fixture
def changing(version: Version) -> Version:
    version.write("painter/__init__.py", _LEAVES_CODE)
    return version


def test_a_home_that_differs_fails_the_test(changing: Version) -> None:
    with pytest.raises(AssertionError, match=r"its home differs from its lock:\n.*more\.py"):
        realize(changing.job())


def test_a_home_that_differs_fails_the_program_that_made_it(changing: Version) -> None:
    pickled = changing.folder / "job.pickle"
    pickled.write_bytes(pickle.dumps(changing.job()))
    process = start_python("-c", _REALIZE, pickled, stderr=subprocess.PIPE)
    _, said = process.communicate()
    assert process.returncode == 1
    assert "its home differs from its lock" in said
