"""Which CUDA the driver has, and what is said where torch needs a later one."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rp_handler.engine.command import EngineSetup
from rp_handler.engine.cuda_driver import driver_cuda, require_driver
from rp_handler.engine.process import Engine
from rp_handler.errors import EngineStartError


class Driver:
    """`cuDriverGetVersion` of NVIDIA's driver API: it writes the version through a pointer, 1000
    for each major and 10 for each minor, and gives 0 where that went well."""

    def __init__(self, version: int, status: int = 0) -> None:
        self.version = version
        self.status = status

    def __call__(self, library: str) -> Driver:
        assert library == "libcuda.so.1"
        return self

    def cuDriverGetVersion(self, pointer: Any) -> int:  # noqa: N802 - the name of the API
        pointer._obj.value = self.version
        return self.status


def absent(library: str) -> Any:
    raise OSError(f"{library}: cannot open shared object file")


@pytest.mark.skipif(sys.platform != "linux", reason="NVIDIA's driver for CUDA is for Linux")
def test_the_driver_tells_its_version() -> None:
    assert driver_cuda(Driver(13020)) == (13, 2)
    assert driver_cuda(Driver(12080)) == (12, 8)
    assert driver_cuda(Driver(0, status=999)) is None
    assert driver_cuda(absent) is None


@pytest.mark.parametrize(
    ("needed", "driver"),
    [("13.2", (13, 2)), ("13.2", (13, 0)), ("12.8", (13, 0)), (None, (11, 0)), ("13.0", None)],
)
def test_a_driver_runs_its_own_major_version_and_earlier_ones(
    needed: str | None, driver: tuple[int, int] | None
) -> None:
    require_driver(needed, driver)


@pytest.mark.parametrize(
    ("driver", "index"), [((12, 8), "cu128"), ((12, 2), "cu128"), ((11, 4), "cu118")]
)
def test_an_older_driver_is_reported_with_the_index_that_has_a_torch_for_it(
    driver: tuple[int, int], index: str
) -> None:
    with pytest.raises(EngineStartError) as caught:
        require_driver("13.2", driver)
    has = f"{driver[0]}.{driver[1]}"
    assert caught.value.message == f"the driver has CUDA {has}, this version needs 13.2."
    assert f'"options": {{"torch": {{"index": "https://download.pytorch.org/whl/{index}"}}}}' in (
        caught.value.remedy
    )
    assert caught.value.exit_code == 3


def test_for_a_driver_older_than_all_builds_no_index_is_named() -> None:
    with pytest.raises(EngineStartError) as caught:
        require_driver("13.2", (10, 2))
    assert "index" not in caught.value.remedy
    assert "Install an NVIDIA driver that supports CUDA 13" in caught.value.remedy


def started(setup: EngineSetup) -> bool:
    async def start() -> bool:
        async with Engine(setup):
            return True

    return asyncio.run(start())


def test_the_engine_is_not_started_beside_a_driver_that_is_too_old(
    setup_of: EngineSetup, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("rp_handler.engine.command.needs_cpu", lambda *_: False)
    monkeypatch.setattr("rp_handler.engine.process.driver_cuda", lambda: (12, 8))
    setup = replace(setup_of, cuda="13.2", python=tmp_path / "never-run")
    with pytest.raises(EngineStartError, match="the driver has CUDA 12.8, this version needs 13.2"):
        started(setup)
    assert started(replace(setup_of, cuda="13.2", arguments=("--cpu",)))
    assert started(replace(setup_of, cuda="12.6"))
