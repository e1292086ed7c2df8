"""Differences between two locks: each is reported once, and none is left out."""

from __future__ import annotations

from functools import partial
from typing import Any

from runpod_comfy.lock.diff import LockChange, compare_locks
from runpod_comfy.lock.model import Distribution, Lock, UnhashedModel
from tests.locks import bare_lock, distribution, model, python_lock, tree

_FILE = {"name": "a-1-py3-none-any.whl", "sha256": "a" * 64}
_tree = partial(tree, "1")
_distribution = partial(distribution, "a", version="1", files=[_FILE])


def _lock(*wheels: Distribution, **changes: Any) -> Lock:
    fields = {
        "custom_nodes": [_tree(name="one"), _tree(name="two")],
        "python": python_lock(torch=[], wheels=list(wheels)),
    }
    return bare_lock(**(fields | changes))


def test_names_of_versions_are_not_content() -> None:
    other = _lock(version_id="other", spec_digest="sha256:" + "1" * 64)
    assert compare_locks(_lock(), other) == []


def test_what_follows_from_a_commit_is_not_reported_again() -> None:
    moved = _lock(comfy=_tree(commit="2" * 40, tree_hash=f"tree:{'2' * 40}"))
    (change,) = compare_locks(_lock(), moved)
    assert (change.part, change.name, change.key) == ("core", "core", "commit")


def test_other_files_under_the_same_commit_are_reported() -> None:
    (change,) = compare_locks(_lock(), _lock(comfy=_tree(tree_hash=f"tree:{'2' * 40}")))
    assert change.key == "tree_hash"


def test_of_files_only_those_that_differ_are_reported() -> None:
    newer = {"name": "a-1-cp311-cp311-macosx_11_0_arm64.whl", "sha256": "b" * 64, "size": None}
    (change,) = compare_locks(_lock(_distribution()), _lock(_distribution(files=[_FILE, newer])))
    assert change == LockChange(
        part="python",
        name="a",
        key="files",
        before=[],
        after=[{"name": newer["name"], "sha256": "b" * 64}],
    )


def test_a_distribution_with_another_version_on_each_platform_is_distinguished() -> None:
    split = [
        _distribution(marker="sys_platform == 'linux'"),
        _distribution(version="2", marker="sys_platform == 'darwin'"),
    ]
    changes = compare_locks(_lock(_distribution()), _lock(*split))
    assert [change.name for change in changes] == [
        "a",
        "a [sys_platform == 'darwin']",
        "a [sys_platform == 'linux']",
    ]


def test_another_order_is_a_difference_and_an_added_node_is_only_itself() -> None:
    nodes = [_tree(name="two"), _tree(name="one")]
    (change,) = compare_locks(_lock(), _lock(custom_nodes=nodes))
    assert change.name == "order of custom nodes"
    more = [_tree(name="one"), _tree(name="three"), _tree(name="two")]
    (change,) = compare_locks(_lock(), _lock(custom_nodes=more))
    assert (change.part, change.name, change.before) == ("nodes", "three", None)


def test_every_setting_is_named_by_its_path() -> None:
    changes = compare_locks(
        _lock(),
        _lock(env={"A": "b"}, base={"image": "cpu"}, comfy_args=["--cpu"], epoch=2),
    )
    assert [change.name for change in changes] == ["base.image", "comfy_args", "env.A", "epoch"]
    assert {change.part for change in changes} == {"environment"}


def _pinned(url: str, **pin: Any) -> dict[str, Any]:
    return {"url": url, "pin": pin}


def test_of_a_models_pins_only_what_differs_is_reported() -> None:
    before = model("vae/x", sources=[_pinned("hf://a", commit="1", etag="e"), _pinned("https://b")])
    after = model("vae/x", sources=[_pinned("hf://a", commit="2", etag="e"), _pinned("https://b")])
    assert compare_locks(_lock(models=[before]), _lock(models=[after])) == [
        LockChange(
            part="models",
            name="vae/x",
            key="pin of hf://a",
            before={"commit": "1"},
            after={"commit": "2"},
        )
    ]
    (change,) = compare_locks(_lock(models=[before]), _lock(models=[model("vae/x", source="c")]))
    assert (change.key, change.before, change.after) == ("sources", ["hf://a", "https://b"], ["c"])


def test_a_model_that_was_hashed_is_that_model_with_a_hash() -> None:
    hashed = model("vae/x", hashed_on_download=True)
    waiting = UnhashedModel(
        index=0, **hashed.model_dump(exclude={"sha256", "size", "hashed_on_download"})
    )
    models = [hashed, model("vae/y")]
    before = _lock(models=models[1:], unhashed_models=[waiting])
    (change,) = compare_locks(before, _lock(models=models))
    assert (change.name, change.key, change.before) == ("vae/x", "sha256", None)
