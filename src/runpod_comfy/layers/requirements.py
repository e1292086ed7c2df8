"""Distributions of a lock as a requirements file for `--require-hashes`."""

from __future__ import annotations

from collections.abc import Sequence

from runpod_comfy.lock.model import Distribution


def requirements_text(distributions: Sequence[Distribution]) -> str:
    """One requirement per distribution, sorted by name: `name==version ; marker --hash=sha256:…`.

    Markers stay, for the installer to evaluate, so the text is the same on every platform.
    """
    ordered = sorted(distributions, key=lambda each: (each.name, each.version, each.marker or ""))
    return "".join(_requirement(distribution) for distribution in ordered)


def _requirement(distribution: Distribution) -> str:
    marker = f" ; {distribution.marker}" if distribution.marker else ""
    hashes = sorted({file.sha256 for file in distribution.files})
    lines = [f"{distribution.name}=={distribution.version}{marker}"]
    lines += [f"    --hash=sha256:{sha256}" for sha256 in hashes]
    return " \\\n".join(lines) + "\n"
