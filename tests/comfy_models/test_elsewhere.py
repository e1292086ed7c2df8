from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest

from comfy_home.manifest import ManifestModel
from comfy_models import elsewhere
from comfy_models.elsewhere import Found, find_elsewhere, usual_settings
from comfy_models.verify import HashMemory

BYTES = b"weights of the one model"
SHA256 = hashlib.sha256(BYTES).hexdigest()
MODEL = ManifestModel(target_path="loras/sub/x.safetensors", sha256=SHA256, size=len(BYTES))


def put(place: Path, content: bytes = BYTES) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return place


def found_in(root: Path, *models: ManifestModel, hashed_bytes: float = float("inf")) -> list[Found]:
    return find_elsewhere(models or (MODEL,), [root], HashMemory(()), hashed_bytes=hashed_bytes)


@pytest.mark.parametrize(
    ("place", "setting"),
    [
        ("loras/sub/x.safetensors", ("MODELS_DIR", "")),
        ("ComfyUI/models/loras/sub/x.safetensors", ("MODELS_DIR", "ComfyUI/models")),
        ("models/models/loras/sub/x.safetensors", ("MODELS_DIR", "models/models")),
        (f"store/sha256/{SHA256[:2]}/{SHA256}", ("COMFY_CACHE_MODELS", "store")),
        ("models/loras/x.safetensors", None),
        ("models/loras/sub/renamed.safetensors", None),
    ],
)
def test_the_right_file_is_found_in_another_layout_with_the_variable_that_names_it(
    tmp_path: Path, place: str, setting: tuple[str, str] | None
) -> None:
    path = put(tmp_path / place)
    (found,) = found_in(tmp_path)
    assert (found.path, found.fault) == (path, None)
    assert found.setting == (setting and (setting[0], tmp_path / setting[1]))
    advice = f": {setting[0]}={tmp_path / setting[1]} finds it" if setting else ""
    assert found.in_words == f"{path} is the right file{advice}"


def test_another_file_of_the_name_is_reported_with_its_difference(tmp_path: Path) -> None:
    short = put(tmp_path / "a/x.safetensors", b"short")
    wrong = put(tmp_path / "b/x.safetensors", BYTES[::-1])
    first, second = found_in(tmp_path)
    assert first.in_words == f"{short} has 5 bytes, not {len(BYTES)}"
    assert second.in_words.startswith(f"{wrong} has sha256 ")
    assert first.setting is second.setting is None


def test_files_of_another_size_and_name_are_neither_hashed_nor_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "y.safetensors", b"other")
    put(tmp_path / "x.txt")

    def hashed(_path: Path) -> str:
        raise AssertionError

    monkeypatch.setattr("comfy_models.verify.sha256_of", hashed)
    assert found_in(tmp_path) == []


def test_of_several_models_with_one_name_the_one_with_the_right_bytes_is_found(
    tmp_path: Path,
) -> None:
    other = MODEL.model_copy(update={"target_path": "vae/x.safetensors", "sha256": "0" * 64})
    put(tmp_path / "x.safetensors")
    (found,) = found_in(tmp_path, other, MODEL)
    assert found.model is MODEL
    assert found.fault is None


def test_more_bytes_than_allowed_are_not_hashed(tmp_path: Path) -> None:
    first, second = put(tmp_path / "a/x.safetensors"), put(tmp_path / "b/x.safetensors")
    put(tmp_path / "c/other.safetensors")
    read, unread = found_in(tmp_path, hashed_bytes=len(BYTES))
    assert (read.path, read.is_hashed) == (first, True)
    assert unread.in_words == f"{second} has the right name and size"


def test_the_settings_that_find_most_files_are_named(tmp_path: Path) -> None:
    models = [
        MODEL.model_copy(update={"target_path": f"loras/{name}.safetensors"}) for name in "abc"
    ]
    put(tmp_path / "x/loras/a.safetensors")
    put(tmp_path / "y/loras/b.safetensors")
    put(tmp_path / "y/loras/c.safetensors")
    assert usual_settings(found_in(tmp_path, *models)) == {"MODELS_DIR": tmp_path / "y"}
    assert usual_settings([]) == {}


def test_a_huge_volume_is_looked_through_only_so_far(tmp_path: Path) -> None:
    crowd = tmp_path / "a"
    crowd.mkdir()
    for number in range(elsewhere._ENTRIES + 10):
        (crowd / f"{number}.png").touch()
    put(tmp_path / "z/deeper/x.safetensors")
    put(tmp_path / "z.safetensors")
    started = time.process_time()
    assert [found.path.name for found in found_in(tmp_path)] == ["z.safetensors"]
    assert time.process_time() - started < 2


def test_links_in_a_circle_dead_links_and_missing_roots_do_not_stop_it(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/up").symlink_to(tmp_path)
    (tmp_path / "lost.safetensors").symlink_to("nowhere")
    (tmp_path / "self.safetensors").symlink_to("self.safetensors")
    path = put(tmp_path / "b/x.safetensors")
    assert [found.path for found in found_in(tmp_path)] == [path]
    assert found_in(tmp_path / "none") == []
