"""The Python part of a lock: core and nodes solved together, torch and its family as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from uv import find_uv_bin

from comfy_errors import InvalidInputError
from runpod_comfy.lock.model import Distribution, DistributionFile, PythonLock
from runpod_comfy.lock.platform_marker import brief_marker, fits_python
from runpod_comfy.lock.requirements import Requirement
from runpod_comfy.lock.torch_family import (
    FAMILY,
    family_constraints,
    in_torch_group,
    newest_whole_minor,
)
from runpod_comfy.lock.uv_compile import Compiled, CompileRequest, compile_distributions
from runpod_comfy.sources.tree import Surroundings
from runpod_comfy.spec.model import Options

DEFAULT_PYTHON = "3.11"
DEFAULT_PLATFORMS = ("linux-x86_64", "macos-arm64")


def lock_python(
    requirements: Sequence[Requirement],
    *,
    options: Options,
    previous: PythonLock | None,
    surroundings: Surroundings,
) -> PythonLock:
    """Pins every distribution with all hashes for the platforms of the spec.

    Pins and hashes of `previous` are kept where they still fit.
    Raises as `compile_distributions` does.
    """
    python = options.python or DEFAULT_PYTHON
    platforms = list(options.platforms or DEFAULT_PLATFORMS)
    request = CompileRequest(
        requirements=requirements,
        python=python,
        platforms=platforms,
        constraints=[*options.constraints, *_asked_torch(options)],
        overrides=options.overrides,
        preferences=_preferences(previous),
        torch_index=options.torch.index,
        uv=Path(find_uv_bin()),
        cache_dir=surroundings.cache.uv,
        offline=surroundings.offline,
    )
    surroundings.say(f"Resolving {len(requirements)} Python requirements together")
    compiled = _with_a_whole_torch_family(request, surroundings)
    locked = [_distribution(item, python, platforms, previous) for item in compiled]
    return PythonLock(
        version=python,
        platforms=platforms,
        torch_index=options.torch.index,
        constraints=options.constraints,
        overrides=options.overrides,
        torch=[item for item in locked if in_torch_group(item.name)],
        wheels=[item for item in locked if not in_torch_group(item.name)],
    )


def _asked_torch(options: Options) -> list[str]:
    version = options.torch.version
    if version is None:
        return []
    major, minor, *patch = version.split(".")
    if major != "2":
        raise InvalidInputError(
            f"options.torch.version: '{version}' is not a torch 2 release",
            remedy="Ask for '2.N' or '2.N.P'.",
        )
    exact = [f"torch=={version}"] if patch else []
    return [*family_constraints(int(minor)), *exact]


def _with_a_whole_torch_family(
    request: CompileRequest, surroundings: Surroundings
) -> list[Compiled]:
    compiled = compile_distributions(request)
    versions = {item.name: item.version for item in compiled if item.name in FAMILY}
    minor = newest_whole_minor(versions)
    if minor is None:
        return compiled
    surroundings.say(
        f"Holding torch back to 2.{minor}: "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + " do not belong together"
    )
    constraints = [*request.constraints, *family_constraints(minor)]
    return compile_distributions(replace(request, constraints=constraints))


def _preferences(previous: PythonLock | None) -> list[str]:
    if previous is None:
        return []
    return [
        f"{item.name}=={item.version}" + (f" ; {item.marker}" if item.marker else "")
        for item in (*previous.torch, *previous.wheels)
    ]


def _distribution(
    compiled: Compiled, python: str, platforms: Sequence[str], previous: PythonLock | None
) -> Distribution:
    files = [file for file in compiled.files if fits_python(file.name, python)]
    return Distribution(
        name=compiled.name,
        version=compiled.version,
        marker=brief_marker(compiled.marker, python=python, platforms=platforms),
        files=_known_files(compiled, previous) or files,
        requested_by=list(compiled.requested_by),
        required_by=list(compiled.required_by),
    )


def _known_files(compiled: Compiled, previous: PythonLock | None) -> list[DistributionFile]:
    """The files that the previous lock has for this release: late uploads change nothing."""
    if previous is None:
        return []
    return next(
        (
            item.files
            for item in (*previous.torch, *previous.wheels)
            if (item.name, item.version) == (compiled.name, compiled.version)
        ),
        [],
    )
