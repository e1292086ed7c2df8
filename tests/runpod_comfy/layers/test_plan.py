from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from runpod_comfy.layers.plan import Plan, TextInput, make_plan
from runpod_comfy.lock.model import Base, Distribution, DistributionFile, Lock, PythonLock
from runpod_comfy.project import LAYER_SCRIPTS as SCRIPTS
from tests.locks import bare_lock, distribution, model, node, python_lock, tree

_FILE = DistributionFile(name="x-py3-none-any.whl", sha256="a" * 64)


_PINNED = {"url": "https://h/x", "pin": {"etag": "e", "length": 1}}


def _distribution(name: str, version: str) -> Distribution:
    return distribution(name, version, files=[_FILE])


def _python(**changes: Any) -> PythonLock:
    fields = {
        "torch": [_distribution("torch", "2.11.0")],
        "wheels": [_distribution("numpy", "2.0")],
    }
    return python_lock(**(fields | changes))


def _lock(**changes: Any) -> Lock:
    fields = {
        "custom_nodes": [node("b", "2"), node("a", "3")],
        "python": _python(),
        "models": [model("loras/x.bin")],
    }
    return bare_lock(**(fields | changes))


def _plan(lock: Lock, platform: str = "linux-x86_64", scripts: Path = SCRIPTS) -> Plan:
    return make_plan(lock, platform=platform, scripts=scripts)


def _changed(before: Plan, after: Plan) -> set[str]:
    keys = {layer.name: layer.key for layer in before.layers}
    return {layer.name for layer in after.layers if keys.get(layer.name) != layer.key}


def test_heavy_and_stable_layers_come_first_and_the_check_last() -> None:
    names = [layer.name for layer in _plan(_lock()).layers]
    assert names == [
        *("system", "torch", "wheels", "handler", "core", "models", "node:a", "node:b", "check"),
    ]


def test_a_plan_is_the_same_twice() -> None:
    assert _plan(_lock()) == _plan(_lock())


@pytest.mark.parametrize(
    ("change", "layers"),
    [
        ({"custom_nodes": [node("a", "4")]}, {"node:a", "check"}),
        ({"comfy": tree("5")}, {"core", "models", "check"}),
        ({"python": _python(torch=[])}, {"torch", "check"}),
        ({"python": _python(wheels=[_distribution("numpy", "2.1")])}, {"wheels", "check"}),
        (
            {"python": _python(version="3.12")},
            {"torch", "wheels", "core", "models", "node:a", "node:b", "check"},
        ),
        ({"models": [model("face/x.bin")]}, {"models", "check"}),
        ({"models": [model("loras/y.bin")]}, set()),
        ({"models": [model("loras/x.bin", sources=[_PINNED])]}, set()),
        ({"env": {"A": "b"}}, {"check"}),
        ({"comfy_args": ["--cpu"]}, {"check"}),
        ({"base": Base(system_packages=["ffmpeg"])}, {"system", "check"}),
        ({"epoch": 1_800_000_000, "version_id": "other"}, set()),
    ],
)
def test_a_key_changes_with_what_its_layer_is_made_of_and_with_nothing_else(
    change: dict[str, Any], layers: set[str]
) -> None:
    assert _changed(_plan(_lock()), _plan(_lock(**change))) == layers


def test_the_environment_belongs_to_a_platform() -> None:
    assert _changed(_plan(_lock()), _plan(_lock(), "macos-arm64")) == {"torch", "wheels", "check"}


@pytest.mark.parametrize(
    ("script", "layers"),
    [
        ("wheels.sh", {"wheels", "check"}),
        ("model_folders.py", {"models", "check"}),
        ("check.sh", {"check"}),
    ],
)
def test_a_changed_script_changes_the_layers_that_use_it(
    tmp_path: Path, script: str, layers: set[str]
) -> None:
    scripts = tmp_path / "layers"
    shutil.copytree(SCRIPTS, scripts)
    with (scripts / script).open("a") as stream:
        stream.write("# changed\n")
    assert _changed(_plan(_lock()), _plan(_lock(), scripts=scripts)) == layers


def test_every_script_that_a_layer_names_is_there() -> None:
    for layer in _plan(_lock()).layers:
        assert all(script.is_file() for script in layer.scripts)


def test_times_follow_from_the_key_and_stay_in_1980() -> None:
    layers = _plan(_lock()).layers
    first_of_1980, first_of_1981 = 315_532_800, 347_155_200
    assert all(first_of_1980 <= layer.epoch < first_of_1981 for layer in layers)
    assert len({layer.epoch for layer in layers}) == len(layers)


def test_a_key_of_today_is_a_key_of_tomorrow(tmp_path: Path) -> None:
    """What is cached under keys is lost when this changes: then raise the schema tag."""
    for script in SCRIPTS.iterdir():
        (tmp_path / script.name).write_text("fixed")
    keys = {layer.name: layer.key for layer in _plan(_lock(), scripts=tmp_path).layers}
    expected = "30d5c60b0db63ec3a9739f61d2a9de6c5b56b8d636144222995a1fbc619867a0"
    assert keys["torch"] == f"sha256:{expected}"


def test_models_name_the_folders_that_they_lie_in() -> None:
    lock = _lock(models=[model("loras/a/x.bin"), model("face/x.bin"), model("top.bin")])
    (folders,) = _plan(lock).layer("models").inputs
    assert folders == TextInput(name="folders.txt", text="face\nloras\n")


def test_models_of_a_node_are_links_of_its_layer_and_no_folder_of_the_core() -> None:
    lock = _lock(models=[model("node_models/a/ckpts/x.bin"), model("custom_nodes/x.bin")])
    (_, links) = _plan(lock).layer("node:a").inputs
    assert isinstance(links, TextInput)
    assert json.loads(links.text) == {"ckpts/x.bin": "../../../models/node_models/a/ckpts/x.bin"}
    assert _changed(_plan(_lock(models=[])), _plan(lock)) == {"node:a", "check"}
    assert [each.digest for each in _plan(lock).layer("models").inputs] == [
        each.digest for each in _plan(_lock(models=[])).layer("models").inputs
    ]


def test_install_scripts_come_between_the_nodes_and_the_check_in_the_order_of_the_list() -> None:
    plan = _plan(_lock(run_install_scripts=["b", "a"]))
    names = [layer.name for layer in plan.layers]
    assert names[-5:] == ["node:a", "node:b", "install:b", "install:a", "check"]
    (pins,) = plan.layer("install:b").inputs
    assert isinstance(pins, TextInput)
    assert pins.text == "torch==2.11.0\n"


def test_an_install_script_depends_on_everything_before_it() -> None:
    before = _plan(_lock(run_install_scripts=["b", "a"]))
    other = [node("b", "2"), node("a", "4")]
    after = _plan(_lock(run_install_scripts=["b", "a"], custom_nodes=other))
    assert _changed(before, after) == {"node:a", "install:b", "install:a", "check"}
    alone = _plan(_lock(run_install_scripts=["a"]))
    assert _changed(before, alone) == {"install:a", "check"}
    assert _changed(_plan(_lock()), alone) == {"install:a", "check"}


def test_what_a_source_distribution_needs_is_an_input_of_its_layer_alone() -> None:
    plain = python_lock()
    built = plain.model_copy(update={"build_requirements": {"numpy": ["cython"], "absent": ["x"]}})
    before, after = _plan(_lock(python=plain)), _plan(_lock(python=built))
    assert _changed(before, after) == {"wheels", "check"}
    _, settings = after.layer("wheels").inputs
    assert isinstance(settings, TextInput)
    assert settings.name == "uv.toml"
    assert settings.text == '[extra-build-dependencies]\n"numpy" = ["cython"]\n'
