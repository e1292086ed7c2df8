"""The base of an image: a name of the catalogue `images/bases.json`, or any image reference."""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from comfy_errors import InvalidInputError
from comfy_files.files import os_reason
from comfy_files.json_faults import faults_in_words
from comfy_files.json_model import Strict
from runpod_comfy.images.registry.names import is_reference
from runpod_comfy.lock.model import Lock
from runpod_comfy.project import IMAGES

CATALOGUE = IMAGES / "bases.json"
"""`{name: {Python: {"image", "digest", "packages"}}}`: `packages` are Debian packages with the
interpreter, if the image has none.
"""

DEFAULT_BASE = "cpu"


class BaseImage(Strict):
    """The image for `FROM`. `digest` is `sha256:…` if known.

    `packages` are Debian packages that have to be installed for its Python.
    """

    image: str
    digest: str | None = None
    packages: tuple[str, ...] = ()

    @property
    def reference(self) -> str:
        """The reference for `FROM`, with the digest if known."""
        return f"{self.image}@{self.digest}" if self.digest else self.image


def find_base(lock: Lock, *, asked: str | None = None, catalogue: Path = CATALOGUE) -> BaseImage:
    """The requested base, else the lock's, else `cpu`.

    Raises InvalidInputError for a name that is neither in the catalogue nor an image reference, and
    for a base in the catalogue without the lock's Python.
    """
    name = asked or lock.base.image or DEFAULT_BASE
    try:
        known = TypeAdapter(dict[str, dict[str, BaseImage]]).validate_json(catalogue.read_bytes())
    except (OSError, ValidationError) as error:
        fault = faults_in_words(error) if isinstance(error, ValidationError) else os_reason(error)
        raise InvalidInputError(
            f"{catalogue} is not a catalogue of bases: {fault}",
            remedy="Correct it, or restore it from git.",
        ) from error
    if name in known:
        entry = known[name].get(lock.python.version)
        if entry is None:
            raise InvalidInputError(
                f"the base '{name}' has no Python {lock.python.version}, only "
                + ", ".join(sorted(known[name])),
                remedy="Set options.python in the spec to one of these, use another base, or "
                "name an image that has it: --base IMAGE",
            )
        return entry
    # A single word is more likely a typo than an image.
    if not (is_reference(name) and any(sign in name for sign in ":/@")):
        raise InvalidInputError(
            f"'{name}' is neither a base of {catalogue.name} ({', '.join(sorted(known))}) nor an "
            "image reference",
            remedy="Name an image with its tag or digest, such as debian:bookworm-slim.",
        )
    image, _, digest = name.partition("@")
    locked = lock.base.digest if not asked or asked == lock.base.image else None
    return BaseImage(image=image, digest=digest or locked or None)
