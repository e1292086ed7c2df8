"""The models of a lock: sha256 and size of every file, without keeping a copy."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath

from comfy_errors import InvalidInputError, MismatchError, UnavailableError
from comfy_models.transfer import local_path
from runpod_comfy.lock.model import LockedModel
from runpod_comfy.sources.tree import Say
from runpod_comfy.spec.model import Model

_FORMATS = {
    ".safetensors": "safetensors",
    ".sft": "safetensors",
    ".gguf": "gguf",
    ".onnx": "onnx",
    ".ckpt": "pickle",
    ".pt": "pickle",
    ".pth": "pickle",
    ".bin": "pickle",
    ".pkl": "pickle",
}


def lock_models(models: list[Model], *, spec_folder: Path, say: Say) -> list[LockedModel]:
    """Pins each model, in the order of the spec.

    Raises UnavailableError naming every missing file at once, MismatchError for a checksum that
    does not hold, InvalidInputError for a source that cannot be pinned yet.
    """
    missing = [
        f"{model.name} ({path})"
        for model in models
        if (path := local_path(model.source, spec_folder)) is not None and not path.is_file()
    ]
    if missing:
        raise UnavailableError(
            "model files are missing: " + ", ".join(missing),
            remedy="Put them there, or correct 'source' in the spec.",
        )
    return [_lock_model(model, spec_folder, say) for model in models]


def _lock_model(model: Model, spec_folder: Path, say: Say) -> LockedModel:
    path = local_path(model.source, spec_folder)
    if path is None:
        sha256, size = _as_stated(model)
    else:
        say(f"Hashing {model.name}")
        sha256, size = _hash(path)
        _compare(model, sha256, size, path)
    return LockedModel(
        name=model.name,
        source=model.source,
        sha256=sha256,
        size=size,
        target_path=model.place,
        format=_FORMATS.get(PurePosixPath(model.place).suffix.lower(), "other"),
        mirrors=model.mirrors,
    )


def _as_stated(model: Model) -> tuple[str, int]:
    if model.checksum is None or model.size is None:
        raise InvalidInputError(
            f"model {model.name}: {model.source} cannot be looked up yet, "
            "and the spec does not state both its 'checksum' and its 'size'",
            remedy="Download it and name it as 'file:///…', or state both.",
        )
    return model.checksum.removeprefix("sha256:"), model.size


def _hash(path: Path) -> tuple[str, int]:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
        return digest.hexdigest(), stream.tell()


def _compare(model: Model, sha256: str, size: int, path: Path) -> None:
    if model.checksum not in (None, f"sha256:{sha256}"):
        raise MismatchError(
            f"model {model.name}: {path} has sha256 {sha256}, the spec says {model.checksum}",
            remedy="Put the right file there, or correct 'checksum' in the spec.",
        )
    if model.size not in (None, size):
        raise MismatchError(
            f"model {model.name}: {path} has {size} bytes, the spec says {model.size}",
            remedy="Put the right file there, or correct 'size' in the spec.",
        )
