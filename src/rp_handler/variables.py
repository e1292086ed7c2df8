"""Reads settings from variables of the environment: yes or no, numbers, the start of names."""

from __future__ import annotations

from collections.abc import Mapping

from comfy_errors import InvalidInputError

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


def number(
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
    value = number(environment, name, default=default, least=least, most=most)
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
