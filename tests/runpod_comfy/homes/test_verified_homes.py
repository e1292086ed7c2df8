"""The rule of tests/verified_homes.py: no test passes with a home that differs from its lock."""

from __future__ import annotations

import pickle
import subprocess
from typing import Any

import pytest

from runpod_comfy.homes import run
from tests.program import start_python
from tests.runpod_comfy.homes.conftest import Version

_REALIZE = """
import pickle, sys
from runpod_comfy.homes import run
from tests.runpod_comfy.homes.test_verified_homes import damaging

run.change_home = damaging(run.change_home)
with open(sys.argv[1], "rb") as stream:
    run.realize(pickle.load(stream))
"""


def damaging(change_home: Any) -> Any:
    """A step of `realize` that leaves another file than the lock says."""

    def change_and_damage(changes: Any, fetched: Any, context: Any, plan: Any) -> Any:
        done = change_home(changes, fetched, context, plan)
        (context.job.home.comfyui / "main.py").write_text("another")
        return done

    return change_and_damage


def test_a_home_that_differs_fails_the_test(
    version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "change_home", damaging(vars(run)["change_home"]))
    with pytest.raises(AssertionError, match=r"its home differs from its lock:\n.*main\.py"):
        run.realize(version.job())


def test_a_home_that_differs_fails_the_program_that_made_it(version: Version) -> None:
    pickled = version.folder / "job.pickle"
    pickled.write_bytes(pickle.dumps(version.job()))
    process = start_python("-c", _REALIZE, pickled, stderr=subprocess.PIPE)
    _, said = process.communicate()
    assert process.returncode == 1
    assert "its home differs from its lock" in said
