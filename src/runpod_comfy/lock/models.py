"""The models of a lock: sha256 and size of every file, without copying any."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from comfy_errors import (
    ComfyError,
    InvalidInputError,
    MismatchError,
    UnavailableError,
    for_each,
)
from comfy_files.files import disk_errors, sha256_of
from comfy_files.parallel import in_parallel
from comfy_files.progress import Say
from comfy_http.redaction import without_secrets
from comfy_models.formats import format_of
from comfy_models.model_file import ModelSource
from comfy_models.search import local_path
from runpod_comfy.lock.model import LockedModel
from runpod_comfy.sources.index.pip_settings import web_client
from runpod_comfy.spec.model import Model

_GONE = (404, 410)


def model_faults(
    models: Sequence[Model], known: Sequence[LockedModel], spec_folder: Path, *, offline: bool
) -> list[ComfyError]:
    """What can be found out about the models before anything is hashed: one error for each that is
    missing, cannot be pinned, or has another size than the spec says.

    A model with a pin in `known` may be missing: it was hashed before.
    """
    new = [model for model in models if _pin_of(model, known) is None]
    found = in_parallel(lambda model: _fault(model, spec_folder, offline=offline), new)
    return [error for error in found if error is not None]


def _fault(model: Model, spec_folder: Path, *, offline: bool) -> ComfyError | None:
    path = local_path(model.source, spec_folder)
    if path is None:
        return _remote_fault(model, offline=offline)
    if not path.is_file():
        return UnavailableError(
            f"model {model.name}: there is no file {path}",
            remedy="Put it there, or correct 'source' in the spec.",
        )
    size = path.stat().st_size
    return None if model.size in (None, size) else _other_size(model, size, str(path))


def _remote_fault(model: Model, *, offline: bool) -> ComfyError | None:
    if model.checksum is None or model.size is None:
        lacking = [key for key in ("checksum", "size") if getattr(model, key) is None]
        return InvalidInputError(
            f"model {model.name}: {without_secrets(model.source)} cannot be looked up yet, and the "
            f"spec does not state its {' and '.join(map(repr, lacking))}",
            remedy="Download it and use its 'file:///…' URL, or state both 'checksum' and 'size'.",
        )
    urls = [url for url in (model.source, *model.mirrors) if url.startswith(("http:", "https:"))]
    if offline or len(urls) <= len(model.mirrors):
        return None
    faults = [_fault_at(url, model) for url in urls]
    return None if None in faults else faults[0]


def _fault_at(url: str, model: Model) -> ComfyError | None:
    """What a web server says against a file being there; None if it has it or does not answer."""
    import requests

    client = web_client(remedy="Correct 'source' in the spec, or add a mirror.")
    try:
        with client.session() as session, client.get(session, url, stream=True) as response:
            if response.status_code in _GONE:
                response.raise_for_status()
            length = response.headers.get("Content-Length", "")
            is_file = response.ok and "Content-Encoding" not in response.headers
            if is_file and length.isdecimal() and int(length) != model.size:
                return _other_size(model, int(length), without_secrets(url))
    except requests.HTTPError as error:
        return client.unreachable(url, error).within(f"model {model.name}")
    except requests.RequestException:
        return None
    return None


def lock_models(
    models: list[Model], known: Sequence[LockedModel], *, spec_folder: Path, say: Say
) -> list[LockedModel]:
    """Pins each model, in the order of the spec, once `model_faults` finds nothing. Pins in `known`
    are kept.

    Raises MismatchError for checksums or pins that do not match.
    """
    return for_each(
        lambda model: _lock_model(model, _pin_of(model, known), spec_folder, say), models
    )


def _pin_of(model: Model, known: Sequence[LockedModel]) -> LockedModel | None:
    """The existing pin for this source, path, checksum and size."""
    return next(
        (
            pin
            for pin in known
            if (pin.sources[0].url, pin.target_path) == (model.source, model.place)
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
        with disk_errors(f"the model file {path} cannot be read", remedy="Check its permissions."):
            sha256, size = sha256_of(path), path.stat().st_size
        _compare(model, known, sha256, size, path)
    elif known is not None:
        if path is not None:
            say(f"Warning: {model.name} is not at {path}; keeping its pin")
        sha256, size = known.sha256, known.size
    else:
        assert model.checksum is not None, "model_faults was called"
        assert model.size is not None, "model_faults was called"
        sha256, size = model.checksum.removeprefix("sha256:"), model.size
    return LockedModel(
        name=model.name,
        sources=[ModelSource(url=url) for url in (model.source, *model.mirrors)],
        sha256=sha256,
        size=size,
        target_path=model.place,
        format=format_of(model.place),
    )


def _compare(model: Model, known: LockedModel | None, sha256: str, size: int, path: Path) -> None:
    if model.checksum not in (None, f"sha256:{sha256}"):
        found = f"sha256 {sha256}, the spec says {model.checksum}"
        remedy = "Put the right file there, or correct 'checksum' in the spec."
    elif model.size not in (None, size):
        raise _other_size(model, size, str(path))
    elif known is not None and known.sha256 != sha256:
        found = f"sha256 {sha256}, the lock says {known.sha256}"
        remedy = (
            "Put the right file back, or accept the new one with: runpod-comfy resolve <id> "
            f"--upgrade {model.name}"
        )
    else:
        return
    raise MismatchError(f"model {model.name}: {path} has {found}", remedy=remedy)


def _other_size(model: Model, size: int, place: str) -> MismatchError:
    return MismatchError(
        f"model {model.name}: {place} has {size} bytes, the spec says {model.size}",
        remedy="Put the right file there, or correct 'size' in the spec.",
    )
