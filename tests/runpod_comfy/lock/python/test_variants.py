"""One of each family of distributions that install the same folder."""

from __future__ import annotations

import pytest

from runpod_comfy.lock.model import PythonLock
from runpod_comfy.lock.python.uv_compile import Solution, solve
from runpod_comfy.lock.python.uv_request import CompileRequest
from tests.runpod_comfy.lock.conftest import Bench

# Solves with uv in each test.
pytestmark = pytest.mark.slow

LINUX = "sys_platform == 'linux' and platform_machine == 'x86_64'"
MAC = "sys_platform == 'darwin' and platform_machine == 'arm64'"


def versions_in(lock: PythonLock) -> dict[str, str]:
    return {item.name: item.version for item in lock.distributions}


# Opencv


@pytest.fixture
def opencv(bench: Bench) -> None:
    for name in ("python", "python-headless", "contrib-python", "contrib-python-headless"):
        bench.release(f"opencv-{name}", "4.9.0.80", "4.11.0.86")


@pytest.mark.usefixtures("opencv")
@pytest.mark.parametrize(
    ("one", "two", "chosen"),
    [
        ("opencv-python", "opencv-python", "opencv-python-headless"),
        ("opencv-python", "opencv-python-headless", "opencv-python-headless"),
        ("opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"),
        ("opencv-contrib-python-headless", "gamma", "opencv-contrib-python-headless"),
    ],
)
def test_a_lock_has_one_opencv(bench: Bench, one: str, two: str, chosen: str) -> None:
    lock = bench.lock("alpha\n", painter=f"{one}>=4.7\n", printer=f"{two}\n")
    assert [name for name in versions_in(lock) if "opencv" in name] == [chosen]
    (opencv,) = (item for item in lock.wheels if item.name == chosen)
    assert opencv.requested_by["node:painter"] == [f"{one}>=4.7"]
    others = {item.requirement.split(">")[0] for item in lock.replaced}
    assert others == {one, two} - {chosen, "gamma"}


@pytest.mark.usefixtures("opencv")
def test_the_bounds_on_every_name_hold_for_the_one_opencv(bench: Bench) -> None:
    bench.release("masker", "1.0", requires=["opencv-python<4.10"])
    lock = bench.lock("alpha\n", painter="masker\nopencv-contrib-python>=4.7\n")
    (opencv,) = (item for item in lock.wheels if "opencv" in item.name)
    assert (opencv.name, opencv.version) == ("opencv-contrib-python-headless", "4.9.0.80")
    assert opencv.required_by == ["masker"]
    assert ("masker 1.0", "opencv-python<4.10") in {
        (item.asked_by, item.requirement) for item in lock.replaced
    }
    assert any("replaces" in said for said in bench.said)
    assert bench.lock("alpha\n", painter="masker\nopencv-contrib-python>=4.7\n") == lock


@pytest.mark.usefixtures("opencv")
def test_the_spec_may_choose_another_opencv(bench: Bench) -> None:
    lock = bench.lock(
        "alpha\n",
        painter="opencv-python-headless\n",
        printer="opencv-contrib-python\n",
        options={"overrides": ["opencv-python<4.11"]},
    )
    assert {n: v for n, v in versions_in(lock).items() if "opencv" in n} == {
        "opencv-python": "4.9.0.80"
    }


@pytest.mark.usefixtures("opencv")
def test_an_opencv_for_one_platform_stays_there(bench: Bench) -> None:
    lock = bench.lock(
        "alpha\n",
        painter="opencv-python ; sys_platform == 'linux'\n",
        options={"platforms": ["linux-x86_64", "macos-arm64"]},
    )
    (opencv,) = (item for item in lock.wheels if "opencv" in item.name)
    assert (opencv.name, opencv.marker) == ("opencv-python-headless", LINUX)


@pytest.mark.usefixtures("opencv")
def test_bounds_on_two_opencv_names_that_exclude_each_other_name_both_lines(bench: Bench) -> None:
    error = bench.error(
        "alpha\n", painter="opencv-python<4.10\n", printer="opencv_python_headless>4.10\n"
    )
    assert "node:painter, requirements.txt line 1: opencv-python<4.10" in error.message
    assert "node:printer, requirements.txt line 1: opencv_python_headless>4.10" in error.message


# Onnxruntime


@pytest.fixture
def onnxruntime(bench: Bench) -> None:
    bench.release("onnxruntime", "1.20.0", "1.31.1", "1.32.0")
    bench.release("onnxruntime-gpu", "1.20.0", "1.31.1", tag="cp311-cp311-manylinux_2_17_x86_64")
    bench.release("onnxruntime-openvino", "1.20.0", tag="cp311-cp311-manylinux_2_17_x86_64")
    bench.release("onnxruntime-directml", "1.20.0", tag="cp311-cp311-win_amd64")


@pytest.mark.usefixtures("onnxruntime")
@pytest.mark.parametrize(
    ("one", "two", "chosen"),
    [
        ("onnxruntime", "onnxruntime-gpu", "onnxruntime-gpu"),
        ("onnxruntime-openvino", "onnxruntime-gpu", "onnxruntime-gpu"),
        ("onnxruntime-openvino", "onnxruntime", "onnxruntime"),
        ("onnxruntime-openvino", "alpha", "onnxruntime-openvino"),
        ("onnxruntime-directml", "alpha", "onnxruntime"),
    ],
)
def test_a_lock_has_one_onnxruntime(bench: Bench, one: str, two: str, chosen: str) -> None:
    lock = bench.lock(
        "alpha\n",
        painter=f"{one}>=1.15\n",
        printer=f"{two}\n",
        options={"platforms": ["linux-x86_64"]},
    )
    assert [name for name in versions_in(lock) if "onnx" in name] == [chosen]
    (runtime,) = (item for item in lock.wheels if item.name == chosen)
    assert runtime.requested_by["node:painter"] == [f"{one}>=1.15"]
    assert {item.requirement.split(">")[0] for item in lock.replaced} == {one, two} - {
        chosen,
        "alpha",
    }


@pytest.mark.usefixtures("onnxruntime")
def test_each_platform_has_the_onnxruntime_that_there_is_for_it(bench: Bench) -> None:
    bench.release("segmenter", "1.0", requires=["onnxruntime<1.32"])
    lock = bench.lock(
        "alpha\n",
        painter="onnxruntime-gpu\n",
        printer="segmenter\n",
        options={"platforms": ["linux-x86_64", "macos-arm64"]},
    )
    found = {item.name: (item.version, item.marker) for item in lock.wheels if "onnx" in item.name}
    assert found == {"onnxruntime": ("1.31.1", MAC), "onnxruntime-gpu": ("1.31.1", LINUX)}
    assert {(item.asked_by, item.requirement, item.given) for item in lock.replaced} == {
        ("node:painter", "onnxruntime-gpu", "onnxruntime==1.31.1"),
        ("segmenter 1.0", "onnxruntime<1.32", "onnxruntime-gpu==1.31.1"),
    }
    assert any("onnxruntime-gpu==1.31.1 on linux-x86_64" in said for said in bench.said)


@pytest.mark.usefixtures("opencv", "onnxruntime")
def test_one_of_each_family_is_chosen_in_one_step(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[CompileRequest] = []

    def counted(request: CompileRequest) -> Solution:
        steps.append(request)
        return solve(request)

    monkeypatch.setattr("runpod_comfy.lock.python.variants.solve", counted)
    lines = "onnxruntime\nonnxruntime-gpu\nopencv-python\nopencv-contrib-python\n"
    lock = bench.lock("alpha\n", painter=lines)
    names = {"onnxruntime-gpu", "opencv-contrib-python-headless"}
    assert {name for name in versions_in(lock) if name[0] == "o"} == names
    assert len(steps) == 1


@pytest.mark.usefixtures("onnxruntime")
def test_bounds_of_lines_hold_on_each_platform(bench: Bench) -> None:
    lock = bench.lock(
        "alpha\n",
        painter="onnxruntime-gpu\n",
        printer="onnxruntime<1.31\n",
        options={"platforms": ["linux-x86_64", "macos-arm64"]},
    )
    found = {item.name: (item.version, item.marker) for item in lock.wheels if "onnx" in item.name}
    assert found == {"onnxruntime": ("1.20.0", MAC), "onnxruntime-gpu": ("1.20.0", LINUX)}


@pytest.mark.usefixtures("onnxruntime")
def test_the_spec_may_choose_another_onnxruntime(bench: Bench) -> None:
    lock = bench.lock(
        "alpha\n", painter="onnxruntime-gpu\n", options={"overrides": ["onnxruntime<1.32"]}
    )
    assert {n: v for n, v in versions_in(lock).items() if "onnx" in n} == {"onnxruntime": "1.31.1"}
