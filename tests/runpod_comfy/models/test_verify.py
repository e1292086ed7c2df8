from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from comfy_models.model_file import ModelSource
from comfy_models.store import ModelStore
from runpod_comfy.models.verify import AskedModel, in_one_folder

FOLDER = Path("/models")


def asked(
    version: str,
    target_path: str = "vae/x",
    sha256: str = "1",
    sources: Sequence[ModelSource] = (),
) -> AskedModel:
    return AskedModel(
        name="x",
        target_path=target_path,
        sha256=sha256,
        size=1,
        versions=(version,),
        base_dir=Path(),
        sources=sources,
    )


def test_what_two_versions_need_is_asked_for_once_from_the_sources_of_both() -> None:
    here, there = ModelSource(url="https://here/x"), ModelSource(url="https://there/x")
    models = [asked("a", sources=[here]), asked("b", sources=[here, there]), asked("b", "vae/y")]
    folder = in_one_folder(FOLDER, models, is_own=False)
    assert [(each.target_path, each.versions) for each in folder.models] == [
        ("vae/x", ("a", "b")),
        ("vae/y", ("b",)),
    ]
    assert folder.models[0].sources == [here, there]
    assert folder.rivals == ()


def test_another_file_at_the_path_of_a_model_is_a_rival() -> None:
    models = [asked("a"), asked("b", sha256="2"), asked("c")]
    folder = in_one_folder(FOLDER, models, is_own=False)
    assert [each.versions for each in folder.models] == [("a", "c")]
    assert [each.versions for each in folder.rivals] == [("b",)]


def test_links_in_a_folder_that_a_version_shares_with_nobody_are_its_own() -> None:
    store = ModelStore(Path("/store"))
    for is_own in (True, False):
        folder = in_one_folder(FOLDER, [], is_own=is_own)
        assert folder.folders(store).one_step is is_own
