"""Which torchvision and torchaudio a lock has beside its torch, on releases that are made like
those on PyPI in November 2026."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from comfy_errors import UnavailableError
from runpod_comfy.lock.model import PythonLock
from tests.runpod_comfy.lock.conftest import Bench

# Solves with uv in each test.
pytestmark = pytest.mark.slow

CORE = "torch\ntorchvision\ntorchaudio\n"

RELEASES = {
    "torchvision": {
        "0.2.2": ["torch"],
        "0.24.1": ["torch==2.9.1"],
        "0.26.0": ["torch==2.11.0"],
        "0.27.1": ["torch==2.12.1"],
        "0.29.0": ["torch==2.14.0"],
        "0.29.1": ["torch>=2.14.0"],
        "0.29.2": ["torch>=2.14.0"],
    },
    "torchaudio": {
        "2.9.1": ["torch==2.9.1"],
        "2.11.0": [],
        "2.11.1": ["torch>=2.11"],
    },
}


@pytest.fixture(autouse=True)
def family(bench: Bench) -> None:
    bench.release("torch", "2.9.1", "2.11.0", "2.12.1", "2.14.0", "2.14.1", "2.15.0")
    for name, releases in RELEASES.items():
        for version, requires in releases.items():
            bench.release(name, version, requires=requires)


def found(lock: PythonLock) -> tuple[str, ...]:
    versions = {item.name: item.version for item in lock.torch}
    return tuple(versions[name] for name in ("torch", "torchvision", "torchaudio"))


def asking(torch: str, **options: Any) -> dict[str, Any]:
    return {"torch": {"version": torch}, **options}


NEWEST = ("2.15.0", "0.29.2", "2.11.1")
"""Releases with an open end go with the newest torch."""


def test_the_newest_family_is_taken_whole(bench: Bench) -> None:
    assert found(bench.lock(CORE)) == NEWEST
    assert not any("torch" in said for said in bench.said)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("2.15.0", NEWEST),
        ("2.14.0", ("2.14.0", "0.29.0", "2.11.1")),
        ("2.11.0", ("2.11.0", "0.26.0", "2.11.0")),
        ("2.11", ("2.11.0", "0.26.0", "2.11.0")),
        ("2.9", ("2.9.1", "0.24.1", "2.9.1")),
    ],
)
def test_members_made_for_the_torch_that_is_asked_for_come_first(
    bench: Bench, asked: str, expected: tuple[str, ...]
) -> None:
    assert found(bench.lock(CORE, options=asking(asked))) == expected


def test_a_member_of_an_older_number_that_is_made_for_the_torch_is_found(bench: Bench) -> None:
    """torchaudio 2.0.1 was made for torch 2.0.0, and 2.0.2 for 2.0.1."""
    bench.release("torch", "1.13.1", "2.0.1")
    bench.release("torchvision", "0.14.1", requires=["torch==1.13.1"])
    bench.release("torchvision", "0.15.2", requires=["torch==2.0.1"])
    bench.release("torchaudio", "0.13.1", requires=["torch==1.13.1"])
    bench.release("torchaudio", "2.0.1", requires=["torch==2.0.0"])
    bench.release("torchaudio", "2.0.2", requires=["torch==2.0.1"])
    assert found(bench.lock(CORE, options=asking("2.0.1"))) == ("2.0.1", "0.15.2", "2.0.2")
    assert found(bench.lock(CORE, options=asking("1.13"))) == ("1.13.1", "0.14.1", "0.13.1")


def test_a_torch_with_only_a_promise_is_used_if_requested_and_reported(
    bench: Bench,
) -> None:
    lock = bench.lock(CORE, options=asking("2.14.1"))
    assert found(lock) == ("2.14.1", "0.29.2", "2.11.1")
    (said,) = (said for said in bench.said if "2.14.1" in said)
    assert "torchvision 0.29.2 and torchaudio 2.11.1" in said
    assert "check" in said


def test_a_torch_with_a_whole_family_is_preferred_to_a_newer_one_without(bench: Bench) -> None:
    assert found(bench.lock(CORE.replace("torch\n", "torch<2.15\n"))) == (
        "2.11.0",
        "0.26.0",
        "2.11.0",
    )
    assert any(said.startswith("Holding torch back to 2.11.0: ") for said in bench.said)


def test_a_torch_that_runs_ahead_of_its_family_waits(bench: Bench) -> None:
    bench.release("torchvision", "0.29.3", requires=["torch==2.15.0"])
    bench.release("torch", "2.16.0")
    for name, version in (("torchvision", "0.29.1"), ("torchvision", "0.29.2")):
        next((bench.index / "files").glob(f"{name}-{version}-*")).unlink()
    bench.release("torchaudio", "2.15.0", requires=["torch==2.15.0"])
    # Beside 2.16.0 only a torchvision of old can be installed, which requires no certain torch.
    assert found(bench.lock(CORE)) == ("2.15.0", "0.29.3", "2.15.0")


def test_a_torch_without_a_member_of_its_number_is_refused_in_plain_words(bench: Bench) -> None:
    next((bench.index / "files").glob("torchaudio-2.11.1-*")).unlink()
    bench.release("torchaudio", "2.11.0")
    error = bench.error(CORE, options=asking("2.12.1"))
    assert isinstance(error, UnavailableError)
    assert "no release of torchaudio is for torch 2.12.1" in error.message
    assert '"torch": {"version": "2.11.0"}' in error.remedy
    constraints = json.loads(error.remedy.partition('"constraints": ')[2].partition(" tries ")[0])
    options = asking("2.12.1", constraints=constraints)
    assert found(bench.lock(CORE, options=options)) == ("2.12.1", "0.27.1", "2.11.0")


@pytest.mark.parametrize(
    "options", [{"constraints": ["torchaudio>2.11"]}, {"overrides": ["torchaudio==2.11.1"]}]
)
def test_a_member_that_the_spec_chooses_is_taken(
    bench: Bench, options: Mapping[str, list[str]]
) -> None:
    lock = bench.lock(CORE, options=asking("2.11.0", **options))
    assert found(lock) == ("2.11.0", "0.26.0", "2.11.1")


def test_a_member_that_only_a_node_wants_belongs_to_the_torch_of_the_core(bench: Bench) -> None:
    lock = bench.lock("torch==2.11.0\n", painter="torchvision\ntorchaudio\n")
    assert found(lock) == ("2.11.0", "0.26.0", "2.11.0")


def test_a_member_that_only_a_node_wants_and_the_spec_chooses_is_taken(bench: Bench) -> None:
    lock = bench.lock(
        "torch\n",
        painter="torchaudio\n",
        options=asking("2.11.0", constraints=["torchaudio==2.11.1"]),
    )
    assert {item.name: item.version for item in lock.torch} == {
        "torch": "2.11.0",
        "torchaudio": "2.11.1",
    }


def test_a_member_that_only_a_node_wants_and_may_not_work_is_reported(bench: Bench) -> None:
    bench.lock("torch==2.12.1\n", painter="torchaudio\n")
    assert any(
        "torchaudio 2.11.1 is not known to work with torch 2.12.1" in it for it in bench.said
    )


def test_a_member_that_was_withdrawn_meanwhile_is_not_taken_for_a_node(bench: Bench) -> None:
    core = "torch\n"
    bench.lock(core, painter="torchaudio\n", options=asking("2.15.0"))
    bench.release("torchaudio", "2.11.2", requires=["torch>=2.11"])
    lock = bench.lock(core, painter="torchaudio\n", options=asking("2.15.0"))
    assert {item.name: item.version for item in lock.torch}["torchaudio"] == "2.11.2"


def test_each_platform_has_the_family_of_its_own_torch(bench: Bench) -> None:
    lines = "torch==2.11.0 ; sys_platform == 'darwin'\ntorch ; sys_platform == 'linux'\n"
    lock = bench.lock(
        f"{lines}torchaudio\n",
        painter="torchvision\n",
        options={"platforms": ["linux-x86_64", "macos-arm64"]},
    )
    found = {
        (item.name, item.version): "darwin" if "darwin" in (item.marker or "") else "linux"
        for item in lock.torch
    }
    assert found == {
        ("torch", "2.11.0"): "darwin",
        ("torchaudio", "2.11.0"): "darwin",
        ("torchvision", "0.26.0"): "darwin",
        ("torch", "2.15.0"): "linux",
        ("torchaudio", "2.11.1"): "linux",
        ("torchvision", "0.29.2"): "linux",
    }


def test_a_family_that_is_locked_stays_when_newer_ones_come(bench: Bench) -> None:
    first = bench.lock(CORE)
    bench.release("torch", "2.16.0")
    bench.release("torchaudio", "2.15.0")
    assert found(bench.lock(CORE + "alpha\n", previous=first)) == NEWEST


def test_a_torch_that_is_locked_is_not_held_back_for_a_new_member(bench: Bench) -> None:
    first = bench.lock("torch\ntorchvision\n")
    bench.release("torch", "2.16.0")
    assert found(bench.lock(CORE, previous=first)) == NEWEST
    assert any(
        "torchaudio 2.11.1 is not known to work with torch 2.15.0" in it for it in bench.said
    )


def test_what_a_core_pins_against_each_other_is_named_and_nothing_else(bench: Bench) -> None:
    core = "torch==2.11.0\ntorchvision==0.26.0\ntorchaudio==2.11.1\n"
    assert found(bench.lock(core)) == ("2.11.0", "0.26.0", "2.11.1")
    (said,) = (said for said in bench.said if "not known to work" in said)
    assert said.startswith("torchaudio 2.11.1 is not known to work with torch 2.11.0;")
