"""What hosts tell about models, and what is wrong with them, before anything is hashed."""

from __future__ import annotations

from comfy_errors import InvalidInputError, MismatchError, UnavailableError
from comfy_models.model_file import ModelSource, Pin
from tests.http_server import Answer
from tests.runpod_comfy.lock.model_shelf import Shelf

CHECKSUM = "sha256:" + "0" * 64
# Nothing listens there.
SILENT = "http://127.0.0.1:9/a.safetensors"


def test_every_model_that_cannot_be_locked_is_reported(shelf: Shelf) -> None:
    shelf.put("there.gguf")
    missing, larger, unknown = shelf.faults(
        {"source": "there.gguf", "target_path": "vae/1"},
        {"source": "gone.gguf", "target_path": "vae/2"},
        {"source": "there.gguf", "size": 8, "target_path": "vae/3"},
        {"source": f"{shelf.url}/gone.gguf", "target_path": "vae/4"},
    )
    assert isinstance(missing, UnavailableError)
    assert "there is no file" in missing.message
    assert "gone.gguf" in missing.message
    assert isinstance(larger, MismatchError)
    assert "there.gguf has 7 bytes, the spec says 8" in larger.message
    assert "correct 'size' in the spec" in larger.remedy
    assert isinstance(unknown, UnavailableError)
    assert unknown.message.startswith("model a.safetensors: ")


def test_a_url_that_its_server_does_not_have_is_reported_unless_a_mirror_has_it(
    shelf: Shelf,
) -> None:
    shelf.put("a.safetensors")
    gone = {"source": f"{shelf.url}/gone", "checksum": CHECKSUM, "size": 7}
    (error,) = shelf.faults(gone)
    assert isinstance(error, UnavailableError)
    assert "model a.safetensors: " in error.message
    assert "404" in error.message
    mirrored = gone | {"mirrors": [f"{shelf.url}/a.safetensors"]}
    assert shelf.faults(mirrored) == []
    (warning,) = shelf.said
    assert warning.startswith(f"Warning: model a.safetensors: {shelf.url}/gone")
    assert shelf.faults(gone, offline=True) == []


def test_every_url_of_a_model_that_cannot_be_had_is_named(shelf: Shelf) -> None:
    first, second = shelf.faults(
        {"source": f"{shelf.url}/gone", "mirrors": [f"{shelf.url}/away"], "size": 7}
    )
    assert "/gone" in first.message
    assert "/away" in second.message


def test_a_url_with_another_size_is_reported(shelf: Shelf) -> None:
    shelf.put("a.safetensors")
    model = {"source": f"{shelf.url}/a.safetensors", "checksum": CHECKSUM}
    assert shelf.faults(model | {"size": 7}) == []
    (error,) = shelf.faults(model | {"size": 9})
    assert isinstance(error, MismatchError)
    assert "has 7 bytes, the spec says 9" in error.message


def test_a_server_that_does_not_answer_says_nothing_against_a_model(shelf: Shelf) -> None:
    model = {"source": SILENT, "checksum": CHECKSUM, "size": 7}
    ((pinned,), faults) = shelf.pin(model)
    assert faults == []
    assert pinned.sources == [ModelSource(url=SILENT)]
    (error,) = shelf.faults({"source": SILENT, "checksum": CHECKSUM})
    assert isinstance(error, UnavailableError)


def test_each_source_of_a_model_has_its_own_pin(shelf: Shelf) -> None:
    shelf.put("a.safetensors")
    tagged = Answer(headers={"ETag": '"v1"'}, body=b"weights")
    weak = Answer(headers={"ETag": 'W/"v1"'}, body=b"weights")
    shelf.answers |= {"/tagged": tagged, "/weak": weak}
    mirrors = [f"{shelf.url}/weak", SILENT, "a.safetensors"]
    ((pinned,), faults) = shelf.pin({"source": f"{shelf.url}/tagged", "mirrors": mirrors})
    assert faults == []
    assert pinned.sources == [
        ModelSource(url=f"{shelf.url}/tagged", pin=Pin(etag="v1", length=7)),
        ModelSource(url=f"{shelf.url}/weak", pin=Pin(length=7)),
        ModelSource(url=SILENT),
        ModelSource(url="a.safetensors"),
    ]
    (warning,) = shelf.said
    assert SILENT in warning
    assert warning.endswith("this source is not pinned")


def test_mirrors_of_different_sizes_are_both_named(shelf: Shelf) -> None:
    shelf.put("a.safetensors")
    shelf.put("b.safetensors", b"other weights")
    urls = [f"{shelf.url}/{name}.safetensors" for name in ("a", "b")]
    (error,) = shelf.faults({"source": urls[0], "mirrors": urls[1:]})
    assert isinstance(error, MismatchError)
    assert f"{urls[1]} has 13 bytes, {urls[0]} has 7" in error.message
    assert "'mirrors'" in error.remedy


def test_pickled_models_need_to_be_allowed_by_name(shelf: Shelf) -> None:
    names = ("a.pt", "b.safetensors", "c.CKPT", "d.bin")
    models = [
        {"name": name, "source": shelf.put(name).name, "target_subdir": "vae"} for name in names
    ]
    shelf.options = {"allow_pickle": ["d.bin"]}
    (error,) = shelf.faults(*models)
    assert isinstance(error, InvalidInputError)
    assert "vae/a.pt, vae/c.CKPT" in error.message
    assert '"options": {"allow_pickle": ["d.bin", "a.pt", "c.CKPT"]}' in error.remedy
    shelf.options = {"allow_pickle": ["d.bin", "a.pt", "c.CKPT"]}
    assert shelf.faults(*models) == []
