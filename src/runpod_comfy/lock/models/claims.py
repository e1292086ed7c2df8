"""What is said about one model file, by the spec, the lock and its hosts: it has to agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from comfy_errors import MismatchError
from comfy_http.redaction import without_secrets

_SPEC = "the spec"
_LOCK = "the lock"
_CORRECT_MIRRORS = (
    "Correct 'source' and 'mirrors' in the spec: each of them has to be the same file."
)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """`by` is a URL or path, or one of the two that are made here. None is what it does not say.

    `sha256` has 64 hex digits, `size` is in bytes.
    """

    by: str
    sha256: str | None = None
    size: int | None = None
    is_here: bool = False


def claim_of_spec(sha256: str | None, size: int | None) -> Claim:
    return Claim(by=_SPEC, sha256=sha256, size=size)


def claim_of_lock(sha256: str | None, size: int | None) -> Claim:
    return Claim(by=_LOCK, sha256=sha256, size=size)


def agreed(model: str, claims: Sequence[Claim]) -> tuple[str | None, int | None]:
    """The sha256 and the size of the file; None for what no claim says.

    `model` is the model's name in the spec. Raises MismatchError for two claims that differ.
    """
    sizes = [(claim, claim.size) for claim in claims if claim.size is not None]
    for claim, size in sizes:
        first, expected = sizes[0]
        if size != expected:
            found = f"{without_secrets(claim.by)} has {size} bytes"
            raise _disagreement(model, found, claim, first, str(expected), "size")
    hashes = [(claim, claim.sha256) for claim in claims if claim.sha256 is not None]
    for claim, sha256 in hashes:
        first, known = hashes[0]
        if sha256 != known:
            found = f"{without_secrets(claim.by)} has sha256 {sha256}"
            raise _disagreement(model, found, claim, first, known, "checksum")
    return hashes[0][1] if hashes else None, sizes[0][1] if sizes else None


def _disagreement(
    model: str, found: str, claim: Claim, first: Claim, expected: str, key: str
) -> MismatchError:
    says = "says" if first.by in (_SPEC, _LOCK) else "has"
    place = "Put the right file there, or correct" if claim.is_here else "Correct 'source' or"
    remedy = _CORRECT_MIRRORS
    if first.by == _SPEC:
        remedy = f"{place} '{key}' in the spec."
    elif first.by == _LOCK and claim.is_here:
        remedy = (
            "Put the right file back, or accept the new one with: runpod-comfy resolve <id> "
            f"--upgrade {model}"
        )
    return MismatchError(
        f"model {model}: {found}, {without_secrets(first.by)} {says} {expected}", remedy=remedy
    )
