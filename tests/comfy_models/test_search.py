from __future__ import annotations

from pathlib import Path

import pytest

from comfy_errors import InvalidInputError
from comfy_home.manifest import ManifestModel
from comfy_models.model_file import ModelSource, Pin
from comfy_models.search import ModelPlaces, local_path

SHA256 = "ab" + "0" * 62
BASE = Path("/specs")


def needed(*urls: str, commit: str | None = None) -> ManifestModel:
    sources = [ModelSource(url=url, pin=Pin(commit=commit)) for url in urls]
    return ManifestModel(target_path="vae/x.pth", sha256=SHA256, size=3, sources=sources)


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
    model = needed(f"{scheme}://org/name{revision}/folder/a%20b.pth", commit="c2")
    assert list(places.candidates(model)) == [
        snapshots / commit / "folder/a b.pth" for commit in ("c2", "c1", "c3")
    ]


def test_a_mirror_on_the_hub_is_looked_for_in_its_cache(tmp_path: Path) -> None:
    places = ModelPlaces(folders=(), stores=(), hub_caches=[tmp_path])
    page = "https://huggingface.co/datasets/org/name/blob/main/f"
    model = needed("https://x/f", "hf://org/name/f", page, commit="c1")
    assert list(places.candidates(model)) == [
        tmp_path / "models--org--name/snapshots/c1/f",
        tmp_path / "datasets--org--name/snapshots/c1/f",
    ]


@pytest.mark.parametrize(
    "source", ["https://x/org/name/f", "models/f", "hf://org/name", "hf://org/name/..%2F..%2Ff"]
)
def test_nothing_else_is_looked_for_in_a_hub_cache(tmp_path: Path, source: str) -> None:
    (tmp_path / "models--org--name/snapshots/c").mkdir(parents=True)
    places = ModelPlaces(folders=(), stores=(), hub_caches=[tmp_path])
    assert list(places.candidates(needed(source))) == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("models/a.bin", "/specs/models/a.bin"),
        ("/data/a.bin", "/data/a.bin"),
        ("file:///data/a%20b.bin", "/data/a b.bin"),
        ("file://localhost/data/a.bin", "/data/a.bin"),
        ("file:models/a.bin", "/specs/models/a.bin"),
        ("FILE:///data/a.bin", "/data/a.bin"),
    ],
)
def test_files_of_this_machine_are_found_from_the_folder_of_the_spec(
    source: str, expected: str
) -> None:
    assert local_path(source, BASE) == Path(expected)


@pytest.mark.parametrize(
    "url",
    [
        *(f"{scheme}://some/model.bin" for scheme in ("hf", "civitai", "gs", "s3", "https")),
        "urn:air:sdxl:lora:civitai:1@2",
    ],
)
def test_the_address_of_another_host_is_no_path(url: str) -> None:
    assert local_path(url, BASE) is None


def test_a_file_url_with_a_machine_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="on another machine, server"):
        local_path("file://server/a.bin", BASE)
