"""From a lock to the whole Dockerfile, and what surrounds its build."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from comfy_errors import InvalidInputError
from comfy_files.progress import say_nothing
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.images.base.catalogue import BaseImage
from runpod_comfy.images.build import image_tags, proxies
from runpod_comfy.images.context.inputs import gather_inputs
from runpod_comfy.images.plan import BuildPlan, make_build_plan
from tests.locks import distribution, python_lock, small_lock

_BASE = BaseImage(image="debian:bookworm-slim", digest="sha256:" + "d" * 64)


def _build_plan(platform: str = "linux-x86_64", **changes: Any) -> BuildPlan:
    return make_build_plan(small_lock(**changes), _BASE, platform=platform)


def test_the_base_is_named_by_its_digest() -> None:
    assert _build_plan().text.startswith(f"FROM {_BASE.image}@{_BASE.digest}\n")


def test_the_labels_tell_the_key_of_every_step_in_order() -> None:
    build_plan = _build_plan()
    (label,) = [
        line
        for line in build_plan.text.splitlines()
        if line.startswith("LABEL io.runpod-comfy.layers")
    ]
    text = label.partition("=")[2].replace("\\$", "$")
    assert json.loads(json.loads(text)) == [[step.name, step.key] for step in build_plan.steps]


def test_a_label_tells_which_cuda_torch_was_built_for() -> None:
    torch = [distribution("torch"), distribution("cuda-toolkit", version="13.2.2")]
    text = _build_plan(python=python_lock(torch=torch)).text
    assert 'LABEL io.runpod-comfy.cuda="13.2"\n' in text
    assert "io.runpod-comfy.cuda" not in _build_plan().text


@pytest.mark.parametrize(
    ("asked", "user"),
    [(None, "1000:1000"), ("1001", "1001:1001"), ("0", "0:0"), ("65534:100", "65534:100")],
)
def test_a_user_is_its_numbers(asked: str | None, user: str) -> None:
    build_plan = _build_plan(user=asked)
    assert build_plan.user == user
    assert f"\nUSER {user}\n" in build_plan.text.split("ENV ", 1)[1]


@pytest.mark.parametrize(
    "asked", ["comfy", "1000:", ":1", "-1", "1000:users", "1:2:3", "1\nRUN x", "٣", "99999999999"]
)
def test_a_user_that_is_none_is_refused(asked: str) -> None:
    with pytest.raises(InvalidInputError, match=r"options\.user"):
        _build_plan(user=asked)


def test_no_user_is_asked_for_by_an_empty_name() -> None:
    assert _build_plan(user="").user == "1000:1000"


@pytest.mark.parametrize("platform", ["macos-arm64", "linux-aarch64", "windows/amd64", ""])
def test_a_platform_that_the_lock_has_not_is_refused(platform: str) -> None:
    with pytest.raises(InvalidInputError, match="it is locked for linux-x86_64"):
        _build_plan(platform)


def test_a_platform_is_passed_to_the_engine_in_its_notation() -> None:
    python = python_lock(platforms=["linux-x86_64", "linux-aarch64"])
    assert _build_plan("linux-aarch64", python=python).engine_platform == "linux/arm64"


@pytest.mark.parametrize("place", ["workflows", "ca_bundle"])
def test_a_file_of_this_machine_that_cannot_be_read_is_named(tmp_path: Path, place: str) -> None:
    fetch_context = FetchContext(
        cache=Cache(root=tmp_path / "cache"), base_dir=tmp_path, offline=True, say=say_nothing
    )
    missing = tmp_path / "missing"
    with pytest.raises(InvalidInputError, match="missing cannot be read: No such file"):
        gather_inputs(
            _build_plan(),
            fetch_context,
            workflows=[missing] if place == "workflows" else [],
            ca_bundle=missing if place == "ca_bundle" else None,
        )


def test_an_image_has_the_name_of_its_version_and_of_its_lock() -> None:
    lock = small_lock()
    short = lock.digest.removeprefix("sha256:")[:12]
    assert image_tags(lock) == ["runpod-comfy:small", f"runpod-comfy:small-{short}"]
    assert image_tags(lock, tag="me.test:5000/x/comfy:1") == [
        "me.test:5000/x/comfy:1",
        f"me.test:5000/x/comfy:small-{short}",
    ]


@pytest.mark.parametrize(
    ("environment", "of_pip", "told"),
    [
        ({}, None, {}),
        (
            {"HTTPS_PROXY": "http://p", "HTTP_PROXY": "", "HF_TOKEN": "x"},
            "q",
            {"HTTPS_PROXY": "http://p"},
        ),
        ({}, "http://p:1", {"HTTP_PROXY": "http://p:1", "HTTPS_PROXY": "http://p:1"}),
        (
            {"no_proxy": "a.test"},
            "p:1",
            {"no_proxy": "a.test", "HTTP_PROXY": "http://p:1", "HTTPS_PROXY": "http://p:1"},
        ),
    ],
)
def test_a_build_gets_the_proxy_of_this_machine(
    environment: dict[str, str], of_pip: str | None, told: dict[str, str]
) -> None:
    assert proxies(environment, of_pip) == told


def test_a_writable_environment_belongs_to_the_user_of_the_image() -> None:
    lock: dict[str, Any] = {"user": "1001", "run_install_scripts": ["a"]}
    owners = {
        step.name: step.variables.get("ENVIRONMENT_OWNER")
        for step in _build_plan(writable_environment=True, **lock).steps
    }
    assert {name for name, owner in owners.items() if owner == "1001:1001"} == {
        name
        for name in owners
        if name.split("-")[0].split(":")[0] in ("torch", "wheels", "install")
    }
    assert "ENVIRONMENT_OWNER" not in _build_plan(**lock).text
