"""The models of a lock: sha256 and size of every file, without copying any."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from comfy_errors import InvalidInputError, MismatchError, UnavailableError
from comfy_files.files import sha256_of
from comfy_files.progress import Say
from comfy_models.search import local_path
from runpod_comfy.lock.model import LockedModel
from runpod_comfy.spec.model import Model

_FORMATS = {
    **dict.fromkeys((".safetensors", ".sft"), "safetensors"),
    **dict.fromkeys((".ckpt", ".pt", ".pth", ".bin", ".pkl"), "pickle"),
    ".gguf": "gguf",
    ".onnx": "onnx",
}


def require_models(models: list[Model], known: Sequence[LockedModel], spec_folder: Path) -> None:
    """Raises UnavailableError naming every missing file at once.

    A model with a pin in `known` may be missing: it was hashed before.
    """
    missing = [
        f"{model.name} ({path})"
        for model in models
        if (path := local_path(model.source, spec_folder)) is not None
        and not path.is_file()
        and _pin_of(model, known) is None
    ]
    if missing:
        raise UnavailableError(
            "missing model files: " + ", ".join(missing),
            remedy="Put them there, or correct 'source' in the spec.",
        )


def lock_models(
    models: list[Model], known: Sequence[LockedModel], *, spec_folder: Path, say: Say
) -> list[LockedModel]:
    """Pins each model, in the order of the spec. Pins in `known` are kept.

    Raises MismatchError for a checksum or pin that does not match, InvalidInputError for a source
    that cannot be pinned yet.
    """
    return [_lock_model(model, _pin_of(model, known), spec_folder, say) for model in models]


def _pin_of(model: Model, known: Sequence[LockedModel]) -> LockedModel | None:
    """The existing pin for this source, path, checksum and size."""
    return next(
        (
            pin
            for pin in known
            if (pin.source, pin.target_path) == (model.source, model.place)
            and model.checksum in (None, f"sha256:{pin.sha256}")
            and model.size in (None, pin.size)
        ),
        None,
    )


def _lock_model(
    model: Model, known: LockedModel | None, spec_folder: Path, say: Say
) -> LockedModel:
    path = local_path(model.source, spec_folder)
    if path is not None and (known is None or path.is_file()):
        say(f"Hashing {model.name}")
        sha256, size = sha256_of(path), path.stat().st_size
        _compare(model, known, sha256, size, path)
    elif known is not None:
        if path is not None:
            say(f"Warning: {model.name} is not at {path}; keeping its pin")
        sha256, size = known.sha256, known.size
    elif model.checksum is not None and model.size is not None:
        sha256, size = model.checksum.removeprefix("sha256:"), model.size
    else:
        raise InvalidInputError(
            f"model {model.name}: {model.source} cannot be looked up yet, "
            "and the spec does not state both its 'checksum' and its 'size'",
            remedy="Download it and use its 'file:///…' URL, or state both.",
        )
    return LockedModel(
        name=model.name,
        source=model.source,
        sha256=sha256,
        size=size,
        target_path=model.place,
        format=_FORMATS.get(PurePosixPath(model.place).suffix.lower(), "other"),
        mirrors=model.mirrors,
    )


def _compare(model: Model, known: LockedModel | None, sha256: str, size: int, path: Path) -> None:
    if model.checksum not in (None, f"sha256:{sha256}"):
        found = f"sha256 {sha256}, the spec says {model.checksum}"
        remedy = "Put the right file there, or correct 'checksum' in the spec."
    elif model.size not in (None, size):
        found = f"{size} bytes, the spec says {model.size}"
        remedy = "Put the right file there, or correct 'size' in the spec."
    elif known is not None and known.sha256 != sha256:
        found = f"sha256 {sha256}, the lock says {known.sha256}"
        remedy = (
            "Put the right file back, or accept the new one with: runpod-comfy resolve <id> "
            f"--upgrade {model.name}"
        )
    else:
        return
    raise MismatchError(f"model {model.name}: {path} has {found}", remedy=remedy)
