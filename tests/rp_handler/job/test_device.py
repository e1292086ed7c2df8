from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from comfy_home.platforms import this_platform
from rp_handler.job.device import device_of, nvidia_gpus

L4 = {"name": "cuda:0 NVIDIA L4 : cudaMallocAsync", "type": "cuda", "index": 0}


@pytest.fixture
def proc(tmp_path: Path) -> dict[str, Path]:
    """What the kernel says of a machine with an NVIDIA GPU."""
    driver, processors = tmp_path / "version", tmp_path / "cpuinfo"
    driver.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19\n")
    processors.write_text("processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\nmodel name\t: x\n")
    return {"nvidia_driver": driver, "processors": processors}


def test_a_gpu_has_its_name_without_number_and_allocator_and_a_driver(
    proc: dict[str, Path],
) -> None:
    assert device_of({"devices": [L4]}, **proc) == {
        "name": "NVIDIA L4",
        "type": "cuda",
        "platform": this_platform(),
        "driver": "535.129.03",
        "processor": "Some CPU @ 2.00GHz",
    }


def test_the_open_driver_is_read_too(proc: dict[str, Path]) -> None:
    proc["nvidia_driver"].write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  560.35.03  Release Build\n"
    )
    assert device_of({"devices": [L4]}, **proc)["driver"] == "560.35.03"


def test_a_processor_has_no_driver(proc: dict[str, Path]) -> None:
    found = device_of({"devices": [{"name": "cpu", "type": "cpu"}]}, **proc)
    assert (found["name"], found["type"], found["driver"]) == ("cpu", "cpu", None)


@pytest.mark.parametrize("stats", [{}, {"devices": []}, {"devices": [{}]}])
def test_an_engine_without_devices_has_an_unknown_one(
    stats: dict[str, Any], tmp_path: Path
) -> None:
    none = tmp_path / "none"
    found = device_of(stats, nvidia_driver=none, processors=none)
    assert (found["name"], found["type"], found["driver"]) == ("unknown", "unknown", None)


def test_the_gpus_of_a_machine_have_the_names_that_devices_have(tmp_path: Path) -> None:
    assert nvidia_gpus(tmp_path / "none") == []
    for number, name in enumerate(("NVIDIA L4", "Tesla T4")):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "information").write_text(f"Model: \t\t {name}\nIRQ:  11\n")
    assert nvidia_gpus(tmp_path) == ["NVIDIA L4", "Tesla T4"]
