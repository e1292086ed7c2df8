"""The Python part of a lock: core and nodes solved together, torch and its family as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

from uv import find_uv_bin

from comfy_errors import ComfyError
from comfy_files.progress import Say, say_nothing
from comfy_http.redaction import without_secrets
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.lock.model import Distribution, PythonLock, Replaced
from runpod_comfy.lock.python.conflict import explained, refusal
from runpod_comfy.lock.python.distribution_files import locked_files, warnings_of
from runpod_comfy.lock.python.platform_marker import brief_marker, holds_somewhere, platforms_of
from runpod_comfy.lock.python.solve import SPEC, ConflictError, Solved, name_of, solve_in_steps
from runpod_comfy.lock.python.torch_family import cuda_of, in_torch_group, torch_group
from runpod_comfy.lock.python.uv_compile import CompileRequest, files_of
from runpod_comfy.lock.requirements.read import (
    CORE,
    Reading,
    Requirement,
    read_requirements,
    refused_error,
)
from runpod_comfy.sources.index.pip_settings import read_index_settings
from runpod_comfy.spec.model import Options

DEFAULT_PYTHON = "3.11"
DEFAULT_PLATFORMS = ("linux-x86_64", "macos-arm64")


def lock_python(
    trees: Sequence[tuple[str, Path]],
    *,
    options: Options,
    previous: PythonLock | None,
    fetch_context: FetchContext,
) -> PythonLock:
    """Pins every distribution that `trees`, `(name, folder)` each, ask for, with all hashes, for
    the platforms of the spec. The first tree is the core.

    Pins and hashes of `previous` are kept where they still fit.
    Raises InvalidInputError naming every line that cannot be pinned, OperationFailedError or
    UnavailableError naming the lines that have no solution, and an override that gives them one.
    """
    python = options.python or DEFAULT_PYTHON
    platforms = list(options.platforms or DEFAULT_PLATFORMS)
    reading = read_requirements(
        trees,
        overridden=frozenset(map(name_of, options.overrides)),
        applies=lambda marker: holds_somewhere(marker, python=python, platforms=platforms),
        say=fetch_context.say,
    )
    request = _request(reading, options, previous, fetch_context)
    _refuse(reading, request, options)
    fetch_context.say(f"Resolving {len(reading.requirements)} Python requirements together")
    solved = _solve(request, options, fetch_context)
    _tell_of_undated(solved, options, fetch_context.say)
    return _locked(solved, options, python, platforms, previous, fetch_context)


def _request(
    reading: Reading,
    options: Options,
    previous: PythonLock | None,
    fetch_context: FetchContext,
) -> CompileRequest:
    return CompileRequest(
        requirements=[*reading.requirements, *_wishes_of_the_spec(options)],
        python=options.python or DEFAULT_PYTHON,
        platforms=list(options.platforms or DEFAULT_PLATFORMS),
        overrides=options.overrides,
        preferences=_preferences(previous),
        torch_index=options.torch.index,
        as_of=options.as_of,
        uv=Path(find_uv_bin()),
        cache_dir=fetch_context.cache.uv,
        offline=fetch_context.offline,
        refresh=True,
    )


def _refuse(reading: Reading, request: CompileRequest, options: Options) -> None:
    if not reading.refused:
        return
    remedy = refusal(reading.refused, request=request, overrides=options.overrides)
    raise refused_error(reading.refused, remedy)


def _wishes_of_the_spec(options: Options) -> list[Requirement]:
    """Constraints of the spec, and its torch, as lines that can be named like those of a tree."""
    bounds = [
        (f"options.constraints[{number}]", text) for number, text in enumerate(options.constraints)
    ]
    bounds += [("options.torch.version", text) for text in _asked_torch(options)]
    return [
        Requirement(
            tree=SPEC, place=place, name=name_of(text), text=text, asked=text, is_constraint=True
        )
        for place, text in bounds
    ]


def _asked_torch(options: Options) -> list[str]:
    version = options.torch.version
    if version is None:
        return []
    # `2.11` means any release of it.
    return [f"torch=={version}" + ("" if version.count(".") > 1 else ".*")]


def _solve(request: CompileRequest, options: Options, fetch_context: FetchContext) -> Solved:
    try:
        return solve_in_steps(request, fetch_context.say)
    except ConflictError as conflict:

        def settles(overrides: Sequence[str]) -> bool:
            try:
                solve_in_steps(replace(request, overrides=overrides, refresh=False), say_nothing)
            except (ConflictError, ComfyError):
                return False
            return True

        fetch_context.say(
            "There is no solution; looking for the lines that are in each other's way"
        )
        raise explained(
            conflict.request,
            conflict.error,
            everything=request.requirements,
            overrides=options.overrides,
            settles=settles,
        ) from conflict


def _locked(
    solved: Solved,
    options: Options,
    python: str,
    platforms: list[str],
    previous: PythonLock | None,
    fetch_context: FetchContext,
) -> PythonLock:
    compiled = files_of(solved.request, solved.solution)
    files = locked_files(
        compiled,
        python=python,
        platforms=platforms,
        torch_index=options.torch.index,
        as_of=options.as_of,
        previous=previous,
        offline=fetch_context.offline,
    )
    asked = _asked_lines(solved.request)
    required_by = {
        name: who | solved.also_required_by.get(name, set())
        for name, who in solved.solution.required_by.items()
    }
    distributions = [
        Distribution(
            name=item.name,
            version=item.version,
            marker=brief_marker(item.marker, python=python, platforms=platforms),
            files=files[item.name, item.version],
            requested_by=asked.get(item.name, {}),
            required_by=sorted(required_by.get(item.name, ())),
        )
        for item in compiled
        if platforms_of(item.marker, python=python, platforms=platforms)
    ]
    replaced = sorted(set(solved.replaced), key=lambda item: item.model_dump_json())
    _tell(distributions, replaced, python, platforms, fetch_context.say)
    _tell_of_moved_pins(distributions, previous, options, fetch_context.say)
    group = torch_group(required_by)
    torch = [item for item in distributions if item.name in group]
    return PythonLock(
        version=python,
        platforms=platforms,
        torch_index=options.torch.index,
        as_of=options.as_of,
        cuda=cuda_of(torch),
        constraints=options.constraints,
        overrides=options.overrides,
        replaced=replaced,
        torch=torch,
        wheels=[item for item in distributions if item.name not in group],
    )


def _tell(
    distributions: Sequence[Distribution],
    replaced: Sequence[Replaced],
    python: str,
    platforms: Sequence[str],
    say: Say,
) -> None:
    for item in replaced:
        if in_torch_group(name_of(item.given.split(" or ")[0])):
            where = f"{item.asked_by}, {item.place}" if item.place else item.asked_by
            say(
                f"{where} asks for {item.requirement} and gets {item.given}, the core's; "
                "options.torch.version in the spec decides for all"
            )
    for distribution in distributions:
        for warning in warnings_of(distribution, python=python, platforms=platforms):
            say(warning)


def _tell_of_undated(solved: Solved, options: Options, say: Say) -> None:
    if options.as_of is None:
        return
    if date.fromisoformat(options.as_of) >= datetime.now(UTC).date():
        say(f"options.as_of: {options.as_of} has not passed yet, so what counts can still change")
    links = read_index_settings().find_links
    if links:
        places = ", ".join(map(without_secrets, links))
        say(f"options.as_of: left out {places}: files there have no upload times")
    undated = solved.solution.undated
    if undated:
        some = ", ".join(undated[:3]) + (" …" if len(undated) > 3 else "")
        say(f"options.as_of: left out {some}: their index has no upload times")


def _tell_of_moved_pins(
    distributions: Sequence[Distribution],
    previous: PythonLock | None,
    options: Options,
    say: Say,
) -> None:
    """Pins are kept; where one could not be, that is worth a line."""
    if previous is None:
        return
    moved = _moved_pins(distributions, previous)
    if options.as_of not in (None, previous.as_of):
        if moved:
            say(f"{len(moved)} pins move to what was uploaded by {options.as_of} (options.as_of)")
        return
    for name, before, after in moved:
        say(
            f"{name} goes from {' and '.join(sorted(before))} to {after}: "
            "the old pin no longer fits what is asked, or no index has it any more"
        )


def _moved_pins(
    distributions: Sequence[Distribution], previous: PythonLock
) -> list[tuple[str, set[str], str]]:
    """Name, the versions that it was pinned to, and the one that it has now."""
    before: dict[str, set[str]] = {}
    for item in (*previous.torch, *previous.wheels):
        before.setdefault(item.name, set()).add(item.version)
    return [
        (item.name, known, item.version)
        for item in distributions
        if (known := before.get(item.name)) and item.version not in known
    ]


def _asked_lines(request: CompileRequest) -> dict[str, dict[str, list[str]]]:
    """Name of a distribution → tree → its lines that ask for it, as they stand there."""
    found: dict[str, dict[str, list[str]]] = {}
    for item in request.requirements:
        if item.is_constraint or not (item.tree == CORE or item.tree.startswith("node:")):
            continue
        lines = found.setdefault(item.name, {}).setdefault(item.tree, [])
        if item.asked not in lines:
            lines.append(item.asked)
    return found


def _preferences(previous: PythonLock | None) -> list[str]:
    if previous is None:
        return []
    return [
        f"{item.name}=={item.version}" + (f" ; {item.marker}" if item.marker else "")
        for item in (*previous.torch, *previous.wheels)
    ]
