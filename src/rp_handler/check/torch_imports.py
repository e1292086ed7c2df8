"""Checks that torch, torchvision and torchaudio load in a version's environment, each by itself.

A package compiled for another torch installs without an error. When a node loads it, it fails far
from the cause, so it is loaded here first.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from comfy_errors import OperationFailedError
from comfy_errors.names import as_options

_TIMEOUT_S = 300.0

# It answers in a file: a package may print anything while it is imported.
_PROGRAM = """
import importlib, importlib.metadata, json, sys
def tell(**facts):
    with open(sys.argv[1], "a") as answer:
        answer.write(json.dumps(facts) + "\\n")
for name in ("torch", "torchvision", "torchaudio"):
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        continue
    requires = importlib.metadata.requires(name) or []
    tell(name=name, version=version, requires=requires)
    try:
        importlib.import_module(name)
    except BaseException as error:
        tell(fault=type(error).__name__ + ": " + str(error))
        break
    tell(loaded=name)
"""
_LOWEST_TORCH = re.compile(r"torch\b[^;]*?(?:==|>=|~=)\s*(\d+(?:\.\d+)*)")


async def require_family(python: Path, environment: Mapping[str, str], folder: Path) -> None:
    """Imports the packages of the torch family in `python`'s environment, torch first.

    `folder` is empty; Python runs there and writes its answer into it. Raises OperationFailedError
    for the first that does not load, with a fix for the spec.
    """
    answer = folder / "family"
    process = await asyncio.create_subprocess_exec(
        str(python),
        *("-c", _PROGRAM, str(answer)),
        cwd=folder,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await asyncio.wait_for(process.wait(), _TIMEOUT_S)
    except TimeoutError:
        fault = f"timed out after {_TIMEOUT_S:.0f} seconds"
    else:
        fault = f"Python exited with status {process.returncode}"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    lines = answer.read_text(encoding="utf-8").splitlines() if answer.exists() else []
    told = [json.loads(line) for line in lines]
    members = [facts for facts in told if "version" in facts]
    if not members or "loaded" in told[-1]:
        return
    raise _not_loaded(members[0], members[-1], told[-1].get("fault") or fault)


def _not_loaded(torch: dict[str, Any], member: dict[str, Any], fault: str) -> OperationFailedError:
    title = f"{member['name']} {member['version']}"
    beside = "" if member is torch else f" with {torch['name']} {torch['version']}"
    return OperationFailedError(
        f"{title} does not load{beside}: {' '.join(fault.split())}",
        remedy=f"Add to the spec: {_settling(torch, member)}. Then resolve and realize (or "
        "build) again.",
    )


def _settling(torch: dict[str, Any], member: dict[str, Any]) -> str:
    """The line for the spec: another torch, another release of the package, or none."""
    name, version, beside = member["name"], _plain(member["version"]), _plain(torch["version"])
    if member is torch:
        return as_options(constraints=[f"torch!={version}"])
    lowest = [
        found[1]
        for line in member["requires"]
        if "extra" not in line and (found := _LOWEST_TORCH.match(line))
    ]
    numbered_alike = version.split(".")[0] == beside.split(".")[0]
    made_for = lowest[0] if lowest else version if numbered_alike else None
    if made_for and not f"{beside}.".startswith(f"{made_for}."):
        # `options.torch.version` has at least two parts.
        made_for = made_for if "." in made_for else f"{made_for}.0"
        return as_options(torch={"version": made_for})
    if numbered_alike and version != beside:
        return as_options(constraints=[f"{name}=={beside}"])
    return as_options(overrides=[f"{name} ; python_version < '3'"])


def _plain(version: str) -> str:
    return version.partition("+")[0]
