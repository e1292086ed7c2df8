from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from comfy_home.platforms import this_platform
from rp_handler.job.device import device_of, nvidia_gpus

L4 = {"name": "cuda:0 NVIDIA L4 : cudaMallocAsync", "type": "cuda", "index": 0}


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder, at first empty, of what the kernel says of a machine."""
    for name in ("_NVIDIA_DRIVER", "_PROCESSORS", "_NVIDIA_GPUS"):
        monkeypatch.setattr(f"rp_handler.job.device.{name}", tmp_path / name)
    return tmp_path


@pytest.fixture
def with_gpu(proc: Path) -> Path:
    """The same of a machine with an NVIDIA GPU."""
    (proc / "_NVIDIA_DRIVER").write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19\n"
    )
    (proc / "_PROCESSORS").write_text(
        "processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\nmodel name\t: x\n"
    )
    return proc


@pytest.mark.usefixtures("with_gpu")
def test_a_gpu_has_its_name_without_number_and_allocator_and_a_driver() -> None:
    assert device_of({"devices": [L4]}) == {
        "name": "NVIDIA L4",
        "type": "cuda",
        "platform": this_platform(),
        "driver": "535.129.03",
        "processor": "Some CPU @ 2.00GHz",
    }


def test_the_open_driver_is_read_too(with_gpu: Path) -> None:
    (with_gpu / "_NVIDIA_DRIVER").write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  560.35.03  Release Build\n"
    )
    assert device_of({"devices": [L4]})["driver"] == "560.35.03"


@pytest.mark.usefixtures("with_gpu")
def test_a_processor_has_no_driver() -> None:
    found = device_of({"devices": [{"name": "cpu", "type": "cpu"}]})
    assert (found["name"], found["type"], found["driver"]) == ("cpu", "cpu", None)


@pytest.mark.usefixtures("proc")
@pytest.mark.parametrize("stats", [{}, {"devices": []}, {"devices": [{}]}])
def test_an_engine_without_devices_has_an_unknown_one(stats: dict[str, Any]) -> None:
    found = device_of(stats)
    assert (found["name"], found["type"], found["driver"]) == ("unknown", "unknown", None)


def test_the_gpus_of_a_machine_have_the_names_that_devices_have(proc: Path) -> None:
    assert nvidia_gpus() == []
    for number, name in enumerate(("NVIDIA L4", "Tesla T4")):
        place = proc / "_NVIDIA_GPUS" / str(number)
        place.mkdir(parents=True)
        (place / "information").write_text(f"Model: \t\t {name}\nIRQ:  11\n")
    assert nvidia_gpus() == ["NVIDIA L4", "Tesla T4"]
