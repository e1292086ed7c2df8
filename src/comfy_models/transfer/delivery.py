"""One model whose sha256 is known: from its sources, in their order, to its place."""

from __future__ import annotations

from comfy_errors import ComfyError, MismatchError, UnavailableError, together
from comfy_http.redaction import without_secrets
from comfy_models.model_file import ModelFile, ModelSource
from comfy_models.sources.errors import NotAModelError, other_bytes_remedy
from comfy_models.sources.file import FileSource
from comfy_models.sources.kinds import source_for
from comfy_models.transfer.claim import LostError, claimed
from comfy_models.transfer.filling import Filling
from comfy_models.transfer.journal import Form
from comfy_models.transfer.partial import PART_BYTES
from comfy_models.transfer.place import Place
from comfy_models.transfer.traffic import PER_FILE, Traffic

# With a mirror there is no need for patience.
_ATTEMPTS, _ATTEMPTS_BEFORE_MIRROR = 6, 3


class WrongSha256Error(MismatchError):
    """The bytes are complete and not those of the model."""


def deliver(model: ModelFile, place: Place, traffic: Traffic) -> None:
    """Brings `model` to `place`, unless it is there.

    Raises one error for all sources that did not give it, OSError, and KeyboardInterrupt if this
    thread's work is cancelled.
    """
    title, size_bytes = model.target_path, model.size
    form = Form(size_bytes=size_bytes, part_bytes=PART_BYTES)
    while True:
        try:
            with claimed(place, title=title, say=traffic.say) as claim:
                if claim is not None and not place.recover(model.sha256):
                    with (
                        traffic.progress.file("models", title, size_bytes=size_bytes) as count,
                        Filling(claim, form, traffic, count) as filling,
                    ):
                        _fill_from_any(model, filling, traffic)
                        claim.require(now=True)
                        place.put(model.sha256, claim.descriptor)
            return
        except LostError:
            traffic.say(f"Another machine took over the download of {title}")


def _fill_from_any(model: ModelFile, filling: Filling, traffic: Traffic) -> None:
    faults: list[ComfyError] = []
    wrong: list[ModelSource] = []
    for number, one in enumerate(model.sources, start=1):
        is_last = number == len(model.sources)
        try:
            _fill_from(one, model, filling, traffic, is_last=is_last, connections=PER_FILE)
            return
        except WrongSha256Error as error:
            wrong.append(one)
            faults.append(error)
        except ComfyError as error:
            faults.append(error)
    # Once more without anything that could have mixed bytes up.
    for one in wrong:
        try:
            _fill_from(one, model, filling, traffic, is_last=True, connections=1)
            return
        except ComfyError as error:
            faults.append(error)
    if not faults:
        faults.append(
            UnavailableError("its source is unknown", remedy="Resolve the version again.")
        )
    raise together(faults).within(f"model {model.target_path}")


def _fill_from(
    one: ModelSource,
    model: ModelFile,
    filling: Filling,
    traffic: Traffic,
    *,
    is_last: bool,
    connections: int,
) -> None:
    source = source_for(one.url, traffic.hosts, one.pin)
    was_empty = filling.partial.received_bytes == 0
    try:
        sha256 = filling.fill(
            one,
            source,
            name=model.target_path,
            attempts=_ATTEMPTS if is_last else _ATTEMPTS_BEFORE_MIRROR,
            connections=connections,
        )
    except NotAModelError:
        # Bytes from earlier are not those of a page.
        if was_empty and filling.partial.prefix == 0:
            filling.start_over()
        raise
    if sha256 != model.sha256:
        filling.start_over()
        raise WrongSha256Error(
            f"{without_secrets(one.url)} has sha256 {sha256}, but {model.sha256} was expected",
            remedy=other_bytes_remedy(is_here=isinstance(source, FileSource)),
        )
