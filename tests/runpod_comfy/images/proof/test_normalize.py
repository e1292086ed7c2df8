"""A saved image becomes an archive whose id depends on its files alone."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from runpod_comfy.images.proof.normalize import Rewriting
from runpod_comfy.images.proof.saved_image import read_image
from runpod_comfy.images.proof.verify import first_difference
from tests.runpod_comfy.images.saved_archives import (
    Member,
    config_of,
    folder,
    layer,
    saved_as_20_10,
    saved_as_26,
)

BASE = layer([Member(name="bin/sh", content=b"#!", owner="somebody", mtime=1)])
OURS = [folder("opt/"), Member(name="opt/a", content=b"a" * 1000), Member(name="opt/.wh.b")]


def rewritten(archive: bytes, scratch: Path, *, kept: int = 1) -> tuple[bytes, Rewriting]:
    rewriting = Rewriting(
        saved=io.BytesIO(archive), kept=kept, tags=["made:1"], scratch=scratch, say=lambda _: None
    )
    return b"".join(rewriting.archive()), rewriting


def two_engines() -> tuple[bytes, bytes]:
    """The same image, as two engines write it."""
    named = [Member(**{**vars(member), "owner": "root"}) for member in OURS]
    older = [BASE, layer(named, format=tarfile.GNU_FORMAT)]
    newer = [BASE, layer(OURS)]
    later = config_of(newer, created="2027-01-01T00:00:00Z")
    return saved_as_20_10(older), saved_as_26(newer, later)


def test_the_same_files_from_two_engines_become_one_image(tmp_path: Path) -> None:
    older, newer = (rewritten(archive, tmp_path)[1] for archive in two_engines())
    assert older.digests == newer.digests
    assert older.config_digest == newer.config_digest


def test_the_layers_of_the_base_stay_as_they_are(tmp_path: Path) -> None:
    base = f"sha256:{hashlib.sha256(BASE).hexdigest()}"
    assert rewritten(two_engines()[0], tmp_path, kept=1)[1].digests[0] == base
    assert rewritten(two_engines()[0], tmp_path, kept=0)[1].digests[0] != base


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "compressed"])
def test_the_new_archive_holds_the_same_files_and_says_its_digests(
    packed: bool, tmp_path: Path
) -> None:
    archive = saved_as_26([BASE, layer(OURS)], packed=packed)
    written, rewriting = rewritten(archive, tmp_path)
    before, after = (read_image(io.BytesIO(each)) for each in (archive, written))
    removal = "opt/.wh.b"
    assert after.layers[1].keys() == before.layers[1].keys() >= {removal}
    assert after.layers[1]["opt/a"] == before.layers[1]["opt/a"]
    assert list(after.digests) == rewriting.digests
    with tarfile.open(fileobj=io.BytesIO(written)) as opened:
        (manifest,) = json.load(opened.extractfile("manifest.json"))  # type: ignore[arg-type]
        assert manifest["RepoTags"] == ["made:1"]
        assert manifest["Config"] == f"{rewriting.config_digest}.json"
        contents = [opened.extractfile(name).read() for name in manifest["Layers"]]  # type: ignore[union-attr]
    digests = [f"sha256:{hashlib.sha256(each).hexdigest()}" for each in contents]
    assert digests == rewriting.digests


def test_a_rewritten_image_is_not_changed_again(tmp_path: Path) -> None:
    written, first = rewritten(two_engines()[0], tmp_path)
    again, second = rewritten(written, tmp_path)
    assert second.config_digest == first.config_digest
    assert again == written
    assert first_difference(*(read_image(io.BytesIO(each)) for each in (written, again))) is None
