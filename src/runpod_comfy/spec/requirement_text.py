"""What `options.constraints` and `options.overrides` of a spec may hold."""

from __future__ import annotations


def check_requirement(value: str) -> str:
    """A requirement of a released distribution, as PEP 508 writes it."""
    # Loaded where a spec uses it: most do not, and every command reads one.
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        parsed = Requirement(value)
    except InvalidRequirement as error:
        raise ValueError(f"must be a requirement such as 'numpy<2', not '{value}'") from error
    if parsed.url is not None:
        raise ValueError("must name a released version; an address cannot be pinned")
    return value


def check_constraint(value: str) -> str:
    """A requirement that bounds a distribution without asking for it."""
    from packaging.requirements import Requirement

    parsed = Requirement(check_requirement(value))
    if parsed.extras:
        raise ValueError("must not name extras: a constraint asks for nothing")
    if not parsed.specifier:
        raise ValueError("must bound a version, such as 'numpy<2'")
    return value
