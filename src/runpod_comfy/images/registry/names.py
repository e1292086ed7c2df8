"""Names of images: `<repository>:<tag>`, where the repository may start with a registry."""

from __future__ import annotations

import re

from comfy_errors import InvalidInputError

DEFAULT_REPOSITORY = "runpod-comfy"
_DEFAULT_TAG = "latest"


def split_reference(reference: str) -> tuple[str, str]:
    """Repository and tag of a reference. A colon before the last slash belongs to a port."""
    head, colon, last = reference.rpartition(":")
    return (head, last) if colon and "/" not in last else (reference, _DEFAULT_TAG)


def is_reference(name: str) -> bool:
    """True if `name` is `[host[:port]/]path[:tag][@sha256:…]`, as registries allow it."""
    path = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
    host = r"(?:[a-zA-Z0-9.-]+(?::[0-9]+)?/)?"
    pattern = rf"{host}{path}(?:/{path})*(?::[\w][\w.-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?"
    return bool(re.fullmatch(pattern, name))


def check_tag(name: str) -> str:
    """Returns `name` if it is a valid image name. Raises InvalidInputError."""
    if not is_reference(name) or "@" in name:
        raise InvalidInputError(
            f"'{name}' is not a valid image name",
            remedy="Use [REGISTRY/]NAME:TAG in lowercase letters and digits, such as me/comfy:1.",
        )
    return name


def has_registry(repository: str) -> bool:
    """True if its first part is a registry, by Docker's rule: a dot, a port, or localhost."""
    first, slash, _rest = repository.partition("/")
    return bool(slash) and ("." in first or ":" in first or first == "localhost")


def in_registry(repository: str, registry: str | None) -> str:
    """The repository's name in `registry`: `ghcr.io/me` and `runpod-comfy` are joined.

    A name that already starts with the registry, or has one when none is given, is not changed.
    Raises InvalidInputError without any registry, and for an address with a scheme.
    """
    registry = (registry or "").rstrip("/")
    if "://" in registry:
        raise InvalidInputError(
            f"a registry has no scheme: {registry}",
            remedy=f"Use {registry.partition('://')[2]}.",
        )
    if not registry:
        if has_registry(repository):
            return repository
        raise InvalidInputError(
            f"no registry to push {repository} to",
            remedy="Name one, such as: runpod-comfy image push --registry ghcr.io/me",
        )
    if repository.startswith(f"{registry}/"):
        return repository
    if has_registry(repository):
        raise InvalidInputError(
            f"{repository} names another registry than {registry}",
            remedy="Leave out --registry, or name the image without its registry.",
        )
    return f"{registry}/{repository}"


def pushed_names(
    reference: str, registry: str | None, *, version_id: str, lock_digest: str
) -> list[str]:
    """An image's names in a registry: by its own tag, and by version and lock.

    Raises InvalidInputError as `in_registry` does.
    """
    repository, tag = split_reference(reference)
    there = in_registry(repository, registry)
    return [f"{there}:{tag}", f"{there}:{version_id}-{lock_digest.removeprefix('sha256:')[:12]}"]
