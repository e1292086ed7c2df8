"""What a name after `--upgrade` means, and which pins it lets go."""

from __future__ import annotations

import pytest

from comfy_errors import InvalidInputError
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.lock.model import Lock
from runpod_comfy.lock.upgrade import UPGRADE_ALL, Upgrade, folder_upgrade, moved_pins, upgrade_of
from runpod_comfy.spec.model import CustomNode, Spec
from tests.git_repositories import GitRepository
from tests.locks import bare_lock, distribution, model, python_lock

_SPEC = Spec.model_validate(
    {
        "schema_version": 2,
        "version_id": "small",
        "comfy": {"repo": "core"},
        "custom_nodes": [{"name": "painter", "repo": "p"}, {"name": "numpy", "repo": "n"}],
        "models": [{"name": "m.gguf", "source": "m.gguf", "target_subdir": "vae"}],
    }
)


_LOCK = bare_lock(
    python=python_lock(
        torch=[distribution(name) for name in ("nvidia-cublas", "torch", "torchvision")],
        wheels=[distribution(name) for name in ("numpy", "pillow")],
    ),
    models=[model("vae/m.gguf", name="m.gguf", source="m.gguf", format="gguf")],
)


def _upgrade(*names: str, lock: Lock | None = _LOCK) -> Upgrade:
    return upgrade_of(names, _SPEC, lock, is_version=lambda name: name == "demo")


def _kept(upgrade: Upgrade) -> list[str]:
    python = upgrade.kept_python(_LOCK)
    assert python is not None
    return [item.name for item in python.distributions]


@pytest.mark.parametrize("name", ["core", "comfy"])
def test_the_core_has_two_names(name: str) -> None:
    assert _upgrade(name) == Upgrade(trees=frozenset({"core"}))


@pytest.mark.parametrize("name", ["torch", "torchvision"])
def test_torch_moves_with_its_family_and_companions(name: str) -> None:
    assert _kept(_upgrade(name)) == ["numpy", "pillow"]


def test_a_distribution_moves_alone() -> None:
    assert _kept(_upgrade("Pillow")) == ["nvidia-cublas", "torch", "torchvision", "numpy"]


def test_a_name_that_two_things_have_means_both() -> None:
    upgrade = _upgrade("numpy")
    assert (upgrade.trees, upgrade.distributions) == (frozenset({1}), frozenset({"numpy"}))


def test_a_model_is_named_by_its_name_or_its_place() -> None:
    assert _upgrade("m.gguf") == _upgrade("vae/m.gguf")
    assert _upgrade("m.gguf").kept_models(_LOCK) == []
    assert _upgrade("painter").kept_models(_LOCK) == _LOCK.models


def test_everything_keeps_nothing() -> None:
    assert UPGRADE_ALL.kept_python(_LOCK) is None
    assert UPGRADE_ALL.kept_models(_LOCK) == []


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("pilow", "Similar names: pillow"),
        ("demo", "runpod-comfy resolve demo --upgrade"),
        ("zzzzzz", "Name 'core', 'torch', a custom node"),
    ],
)
def test_an_unknown_name_is_refused(name: str, told: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        _upgrade("core", name)
    assert told in caught.value.remedy


def test_without_a_lock_only_what_the_spec_names_is_known() -> None:
    assert _upgrade("painter", lock=None).trees == {0}
    with pytest.raises(InvalidInputError):
        _upgrade("pillow", lock=None)


def test_an_update_lets_go_of_folders_only() -> None:
    core = {"repo": "https://h/core", "ref": "main"}
    spec = Spec.model_validate({**_SPEC.document(), "comfy": core})
    assert folder_upgrade(spec) == Upgrade(trees=frozenset({0, 1}))
    assert folder_upgrade(_SPEC) == Upgrade(trees=frozenset({"core", 0, 1}))


def test_a_short_commit_stays_like_a_whole_one(
    node_git: GitRepository, fetch_context: FetchContext
) -> None:
    commit = node_git.git("rev-parse", "HEAD")
    node_git.commit("Newer")
    node = {"name": "painter", "repo": node_git.url, "ref": commit[:8], "commit": commit}
    spec = _SPEC.model_copy(update={"custom_nodes": [CustomNode.model_validate(node)]})
    assert moved_pins(spec, Upgrade(trees=frozenset({0})), fetch_context) == []
