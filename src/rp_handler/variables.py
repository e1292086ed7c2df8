"""Reads settings from variables of the environment: yes or no, numbers, names, a digest."""

from __future__ import annotations

import re
from collections.abc import Mapping

from comfy_errors import InvalidInputError

IMAGE_VARIABLE = "COMFY_IMAGE"
_DIGEST = re.compile(r"(?:[a-z0-9][a-z0-9._:/-]{0,254}@)?sha256:[0-9a-f]{64}")
_BOOLEANS = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}


def flag(environment: Mapping[str, str], name: str, *, default: bool) -> bool:
    """Raises InvalidInputError unless the variable is a word for true or false."""
    text = environment.get(name, "").strip()
    if not text:
        return default
    if text.lower() not in _BOOLEANS:
        raise InvalidInputError(
            f"{name} is '{text}', which is neither true nor false",
            remedy=f"Set {name} to true or false, or unset it for {str(default).lower()}.",
        )
    return _BOOLEANS[text.lower()]


def is_strict(environment: Mapping[str, str], name: str) -> bool:
    """Whether the variable is `strict`. Raises InvalidInputError for any other value."""
    asked = environment.get(name) or None
    if asked not in (None, "strict"):
        raise InvalidInputError(f'{name} is "{asked}".', remedy="Set it to strict, or unset it.")
    return asked is not None


def number_between(
    environment: Mapping[str, str], name: str, *, default: float, least: float, most: float
) -> float:
    """Raises InvalidInputError unless the variable is a number within the limits."""
    text = environment.get(name, "").strip()
    try:
        value = float(text) if text else default
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        raise InvalidInputError(
            f"{name} is '{text}', which is no number from {least:g} to {most:g}",
            remedy=f"Correct {name}, or unset it for {default:g}.",
        )
    return value


def whole(environment: Mapping[str, str], name: str, *, default: int, least: int, most: int) -> int:
    """Raises InvalidInputError unless the variable is a whole number within the limits."""
    value = number_between(environment, name, default=default, least=least, most=most)
    if value != int(value):
        raise InvalidInputError(
            f"{name} is '{environment[name]}', which is no whole number",
            remedy=f"Correct {name}, or unset it for {default}.",
        )
    return int(value)


def prefix(environment: Mapping[str, str], name: str, *, default: str) -> str:
    """The start of the names in a bucket, without slashes at its ends. Raises InvalidInputError."""
    text = environment.get(name, "").strip() or default
    if not text.isprintable() or len(text) > 500:
        raise InvalidInputError(
            f"{name} has characters that cannot be in a name, or is longer than 500 characters",
            remedy=f"Correct {name}, or unset it for {default}.",
        )
    return text.strip("/")


def image_digest(environment: Mapping[str, str]) -> str | None:
    """The digest of the image that a container runs, `REPOSITORY@sha256:…` or `sha256:…`; None if
    it is not stated. Raises InvalidInputError.
    """
    stated = environment.get(IMAGE_VARIABLE, "").strip()
    if stated and not _DIGEST.fullmatch(stated):
        # A wrong value may be a login.
        raise InvalidInputError(
            f"{IMAGE_VARIABLE} is neither REPOSITORY@sha256:… nor sha256:…, with 64 hex digits",
            remedy="Set it to the digest that `runpod-comfy image push` prints, or unset it.",
        )
    return stated or None
