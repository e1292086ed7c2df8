from __future__ import annotations

from pathlib import Path

import pytest

from comfy_models.search import ModelPlaces, NeededModel

SHA256 = "ab" + "0" * 62
NONE = ModelPlaces(folders=(), stores=(), hub_caches=())


def needed(source: str | None = None, revision: str | None = None) -> NeededModel:
    return NeededModel(
        target_path="vae/x.pth", sha256=SHA256, size_bytes=3, source=source, revision=revision
    )


def test_folders_are_looked_through_before_stores() -> None:
    places = ModelPlaces(folders=[Path("/a"), Path("/b")], stores=[Path("/s")], hub_caches=())
    assert list(places.candidates(needed())) == [
        Path("/a/vae/x.pth"),
        Path("/b/vae/x.pth"),
        Path("/s/sha256/ab") / SHA256,
    ]


@pytest.mark.parametrize("scheme", ["hf", "huggingface"])
@pytest.mark.parametrize("revision", ["", "@main"])
def test_a_file_of_the_hub_is_looked_for_in_its_snapshot_and_then_in_the_others(
    tmp_path: Path, scheme: str, revision: str
) -> None:
    snapshots = tmp_path / "models--org--name/snapshots"
    for commit in ("c1", "c2", "c3"):
        (snapshots / commit).mkdir(parents=True)
    places = ModelPlaces(folders=(), stores=(), hub_caches=[tmp_path])
    model = needed(f"{scheme}://org/name{revision}/folder/a%20b.pth", revision="c2")
    assert list(places.candidates(model)) == [
        snapshots / commit / "folder/a b.pth" for commit in ("c2", "c1", "c3")
    ]


@pytest.mark.parametrize("source", [None, "https://x/org/name/f", "models/f", "hf://org/name"])
def test_nothing_else_is_looked_for_in_a_hub_cache(tmp_path: Path, source: str | None) -> None:
    (tmp_path / "models--org--name/snapshots/c").mkdir(parents=True)
    places = ModelPlaces(folders=(), stores=(), hub_caches=[tmp_path])
    assert list(places.candidates(needed(source))) == []
