"""Names of distributions that no index has, and what was probably meant."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from comfy_errors.names import nearest
from runpod_comfy.lock.python.torch_family import FAMILY
from runpod_comfy.lock.requirements.read import RequirementLine

_UNKNOWN = re.compile(
    r"\b([a-z0-9][a-z0-9._-]*) was not found in the (?:package registry|provided)"
)


def unknown_names(reason: str) -> set[str]:
    """The names that no index has, by uv's explanation."""
    return set(_UNKNOWN.findall(" ".join(reason.split())))


def misspelt(lines: Sequence[RequirementLine], reason: str, known: Collection[str]) -> str:
    """Sentences about the names in `lines` that no index has: each may be a typing error.

    `known` are names that exist, such as those of the other lines.
    """
    unknown = unknown_names(reason)
    others = {*known, *FAMILY} - unknown
    sentences = []
    for line in lines:
        if line.name in unknown:
            meant = nearest(line.name, others)
            hint = f", probably of {meant}" if meant else ""
            place = line.place or line.tree
            sentences.append(f"{line.name} may be a typing error{hint}: look at {place}.")
    return " ".join(dict.fromkeys(sentences))
