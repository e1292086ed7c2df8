"""From a plan to the steps of an image."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from runpod_comfy.images.dockerfile import Step
from runpod_comfy.images.plan import make_steps
from runpod_comfy.layers.plan import TORCH_PARTS, TextInput, make_plan, requirements_text
from runpod_comfy.lock.model import Distribution, Lock
from runpod_comfy.lock.python.wheels import handler_packages
from tests.locks import distribution, node, python_lock, small_lock

_CUDA = {
    "torch": 888,
    "cudnn": 707,
    "cublas": 594,
    "nccl": 322,
    "cusparse": 288,
    "cusparselt": 287,
    "cusolver": 268,
    "cufft": 193,
    "triton": 170,
    "nvrtc": 90,
    "torchvision": 8,
    "sympy": 6,
}
"""Megabytes of the wheels that PyTorch with CUDA is made of."""


def _steps(lock: Lock, *, handler: str = "h", user: str = "1000:1000") -> list[Step]:
    plan = make_plan(lock, platform="linux-x86_64")
    return make_steps(plan, lock, handler=handler, user=user)


def _torch_steps(torch: Sequence[Distribution]) -> list[Step]:
    steps = _steps(small_lock(python=python_lock(torch=list(torch))))
    return [step for step in steps if step.layer.kind == "torch"]


def _changed(before: list[Step], after: list[Step]) -> set[str]:
    keys = {step.name: step.key for step in before}
    return {step.name for step in after if keys.get(step.name) != step.key}


def test_torch_is_dealt_out_so_that_no_layer_is_much_larger_than_another() -> None:
    steps = _torch_steps([distribution(name, size=size) for name, size in _CUDA.items()])
    sizes = [
        sum(file.size or 0 for each in step.distributions for file in each.files) for step in steps
    ]
    assert 3 <= len(steps) <= TORCH_PARTS
    assert max(sizes) < 1.25 * min(sizes)


@pytest.mark.parametrize(
    "sizes", [{}, {"torch": 190}, {"torch": 190, "sympy": 6, "networkx": 2}, {"torch": None}]
)
def test_a_torch_that_is_small_or_one_large_file_is_one_layer(sizes: dict[str, int | None]) -> None:
    steps = _torch_steps([distribution(name, size=size) for name, size in sizes.items()])
    assert [step.name for step in steps] == ["torch"]


def test_every_distribution_is_installed_by_exactly_one_step() -> None:
    torch = [distribution(name, size=size) for name, size in _CUDA.items()]
    lock = small_lock(python=python_lock(torch=torch))
    lines = [
        line.split(" ")[0]
        for step in _steps(lock)
        if step.installs and step.name != "handler"
        for text in step.inputs
        if isinstance(text, TextInput)
        for line in text.text.splitlines()
        if not line.startswith(" ")
    ]
    assert sorted(lines) == sorted([f"{name}==1.0" for name in (*_CUDA, "numpy", "aiohttp")])


def test_a_home_installs_in_the_order_of_an_images_steps() -> None:
    """So that files that distributions share are the same ones in both."""
    torch = [distribution(name, size=size) for name, size in _CUDA.items()]
    torch.append(distribution("a-mac-only", marker="sys_platform == 'darwin'"))
    lock = small_lock(python=python_lock(torch=torch))
    (home,) = make_plan(lock, platform="linux-x86_64").layer("torch").inputs
    steps = [step for step in _steps(lock) if step.layer.kind == "torch"]
    texts = [text.text for step in steps for text in step.inputs if isinstance(text, TextInput)]
    assert isinstance(home, TextInput)
    assert home.text == "".join(texts) + requirements_text(torch[-1:])


def test_every_step_of_torch_knows_what_source_distributions_need() -> None:
    torch = [distribution(name, size=size) for name, size in _CUDA.items()]
    python = python_lock(torch=torch, build_requirements={"torch": ["cmake"]})
    steps = [step for step in _steps(small_lock(python=python)) if step.layer.kind == "torch"]
    assert len(steps) > 1
    for step in steps:
        assert [each.name for each in step.inputs] == ["requirements.txt", "uv.toml"]


def test_what_another_platform_needs_is_in_no_step() -> None:
    mac = distribution("mac-only", marker="sys_platform == 'darwin'")
    lock = small_lock(python=python_lock(wheels=[distribution("numpy"), mac]))
    (wheels,) = [step for step in _steps(lock) if step.name == "wheels"]
    assert [each.name for each in wheels.distributions] == ["numpy"]


def test_only_the_first_part_of_torch_makes_the_environment() -> None:
    steps = _torch_steps([distribution(name, size=size) for name, size in _CUDA.items()])
    first, *others = [step.script for step in steps]
    assert first == "torch.sh"
    assert set(others) == {"wheels.sh"}


def test_the_handler_gets_its_own_packages_for_the_versions_python() -> None:
    lock = small_lock(python=python_lock(version="3.12"))
    (handler,) = [step for step in _steps(lock) if step.name == "handler"]
    expected = handler_packages("3.12", "linux-x86_64").wheels
    assert list(handler.distributions) == expected
    (requirements,) = handler.inputs
    assert isinstance(requirements, TextInput)
    assert requirements.text == requirements_text(expected)


def test_the_handlers_key_follows_its_packages() -> None:
    before = _steps(small_lock())
    after = _steps(small_lock(python=python_lock(version="3.12")))
    assert "handler" in _changed(before, after)


def test_only_steps_that_run_nothing_but_our_code_say_where_they_write() -> None:
    places = {
        step.name: step.variables["WRITES"]
        for step in _steps(small_lock())
        if "WRITES" in step.variables
    }
    home = "/opt/comfy"
    assert places == {
        **{"handler": "/opt/handler", "core": home},
        **{"node:a": home, "node:b.node": home},
    }


def test_the_same_lock_gives_the_same_keys() -> None:
    assert _changed(_steps(small_lock()), _steps(small_lock())) == set()


def test_a_changed_node_changes_its_own_key_and_those_of_what_looks_at_everything() -> None:
    nodes = [node("b.node", "2"), node("a", "4")]
    changed = _changed(_steps(small_lock()), _steps(small_lock(custom_nodes=nodes)))
    assert changed == {"node:a", "install:a", "check"}


def test_what_only_an_image_has_counts_too() -> None:
    before = _steps(small_lock())
    assert _changed(before, _steps(small_lock(), handler="another")) == {"handler"}
    assert _changed(before, _steps(small_lock(), user="1:1")) == {"system", "models"}


def test_a_part_of_torch_that_holds_the_same_keeps_its_key_only_if_all_of_torch_does() -> None:
    """The key of a layer is over all its requirements; times of files follow from it."""
    torch = [distribution(name, size=size) for name, size in _CUDA.items()]
    before = _torch_steps(torch)
    after = _torch_steps([*torch[:-1], distribution("sympy", size=6, version="2.0")])
    assert _changed(before, after) == {step.name for step in before}


def test_debian_packages_of_base_and_version_are_installed_once_each() -> None:
    plan = make_plan(small_lock(), platform="linux-x86_64")
    system = make_steps(plan, small_lock(), handler="h", base_packages=["python3.11", "ffmpeg"])[0]
    assert system.variables["SYSTEM_PACKAGES"] == "python3.11 ffmpeg"
