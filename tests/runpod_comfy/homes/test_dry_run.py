"""A dry run says what the run does right after it, and leaves everything as it is."""

from __future__ import annotations

import pytest

from runpod_comfy.homes.dry_run import preview
from runpod_comfy.homes.home import Realization
from runpod_comfy.homes.run import realize
from tests.runpod_comfy.homes.conftest import Version, snapshot

_ALL = ("system", "torch", "wheels", "handler", "core", "models", "node:painter", "check")


def _is_told(job: Realization) -> dict[str, str]:
    """The outcome of each layer, which a dry run foresees, as do the sentences of the run."""
    previewed = preview(job)
    foreseen = {
        **dict.fromkeys(previewed.changes.kept, "kept"),
        **{layer.name: "built" for layer in previewed.changes.pending},
        **dict.fromkeys(previewed.recalled, "recalled"),
    }
    result = realize(job)
    made = {layer.name: layer.outcome for layer in result.layers}
    assert made == foreseen
    assert result.linked == previewed.changes.links
    return foreseen


def test_a_dry_run_shows_the_plan_and_touches_nothing(version: Version) -> None:
    version.models = [version.model("a.bin", "weights")]
    job = version.job(wheels_dir=None)
    before = snapshot(version.folder)
    previewed = preview(job)
    changes = previewed.changes
    assert snapshot(version.folder) == before
    assert tuple(layer.name for layer in changes.pending) == _ALL
    assert [name for name, _tree in previewed.trees] == ["core", "node:painter"]
    assert previewed.package_bytes == sum(
        path.stat().st_size for path in version.wheels_dir.glob("*.whl")
    )
    assert previewed.recalled == ()
    assert changes.model_bytes == 7
    assert changes.links == ("a.bin",)
    realize(version.job())
    assert preview(version.job()).changes.is_nothing
    elsewhere = version.job(models_dir=version.folder / "shared")
    assert preview(elsewhere).changes.links == ("a.bin",)
    assert realize(elsewhere).changed


def test_what_the_caches_have_is_neither_fetched_nor_built(version: Version) -> None:
    realize(version.job())
    job = version.job(version.folder / "other")
    previewed = preview(job)
    assert (previewed.trees, previewed.packages, previewed.package_bytes) == ((), (), 0)
    assert previewed.recalled == ("torch", "wheels", "check")
    _is_told(job)


def test_a_second_home_is_foreseen_layer_by_layer(version: Version) -> None:
    version.models = [version.model("a.bin", "weights")]
    assert set(_is_told(version.job()).values()) == {"built"}
    assert set(_is_told(version.job()).values()) == {"kept"}
    version.wheels = [version.wheel("beta", "1.0")]
    version.nodes = []
    told = _is_told(version.job())
    assert (told["core"], told["wheels"]) == ("kept", "built")


def test_a_check_that_does_not_hold_here_is_made(
    version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    version.changes["import_needs"] = {"painter": ["env:SOME_KEY"]}
    realize(version.job())
    assert _is_told(version.job(version.folder / "two"))["check"] == "recalled"
    monkeypatch.setenv("SOME_KEY", "x")
    assert _is_told(version.job(version.folder / "three"))["check"] == "built"


def test_a_check_is_made_beside_a_node_that_was_added_by_hand(version: Version) -> None:
    realize(version.job())
    report = version.folder / "home/.comfy_object_info.json"
    report.unlink()
    assert _is_told(version.job())["check"] == "recalled"
    report.unlink()
    mine = version.folder / "home/ComfyUI/custom_nodes/mine"
    mine.mkdir()
    (mine / "__init__.py").write_text("NODE_CLASS_MAPPINGS = {}\n")
    assert _is_told(version.job())["check"] == "built"
