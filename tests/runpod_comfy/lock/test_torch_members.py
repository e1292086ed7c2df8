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


def test_a_torch_with_no_more_than_a_promise_is_taken_if_asked_for_and_that_is_said(
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


def test_a_torch_without_a_member_of_its_number_is_refused_in_words(bench: Bench) -> None:
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


def test_a_family_that_is_locked_stays_when_a_newer_torch_comes(bench: Bench) -> None:
    first = bench.lock(CORE)
    bench.release("torch", "2.16.0")
    assert found(bench.lock(CORE + "alpha\n", previous=first)) == NEWEST
    assert found(bench.lock(CORE)) == ("2.16.0", "0.29.2", "2.11.1")


def test_a_pair_that_an_earlier_program_locked_by_mistake_is_corrected(bench: Bench) -> None:
    mistaken = bench.lock(
        CORE, options=asking("2.11.0", overrides=["torchaudio==2.11.1"])
    ).model_copy(update={"overrides": []})
    lock = bench.lock(CORE, options=asking("2.11.0"), previous=mistaken)
    assert found(lock) == ("2.11.0", "0.26.0", "2.11.0")
    assert any(said.startswith("torchaudio goes from 2.11.1 to 2.11.0") for said in bench.said)
