"""What uv is asked: a request, and the temporary project that states it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from comfy_home.platforms import PLATFORMS
from runpod_comfy.lock.python.building import build_table
from runpod_comfy.lock.python.torch_family import FAMILY
from runpod_comfy.lock.requirements.read import RequirementLine
from runpod_comfy.sources.index.pip_settings import uv_indexes

# The name of the temporary project, which uv's explanations use for all lines together.
PROJECT = "these-requirements"


@dataclass(frozen=True, kw_only=True)
class CompileRequest:
    """What to solve. `preferences` are `name==version` pins to keep if they still fit.

    `held` are constraints that no line asks for, such as the versions of the torch family.
    `torch_index` is the index of that family; with `torch_links` it is also searched for versions
    that an override names, which uv would otherwise look for on the other indexes. `as_of` is the
    last day, in UTC, of uploads to use; None for all. Without `builds`, no sdist is built to learn
    what it needs, unless an earlier run did.
    """

    requirements: Sequence[RequirementLine]
    python: str
    platforms: Sequence[str]
    held: Sequence[str] = ()
    overrides: Sequence[str] = ()
    preferences: Sequence[str] = ()
    torch_index: str | None = None
    torch_links: bool = False
    build_requirements: Mapping[str, list[str]] = field(default_factory=dict)
    as_of: str | None = None
    cache_dir: Path
    offline: bool = False
    builds: bool = True


@contextmanager
def project(request: CompileRequest) -> Iterator[Path]:
    """A temporary project folder in which uv solves the request."""
    texts = {"pyproject.toml": _pyproject(request), **request_texts(request)}
    with tempfile.TemporaryDirectory(prefix="runpod-comfy-resolve-") as folder:
        for name, text in texts.items():
            Path(folder, name).write_text("\n".join(text) + "\n", encoding="utf-8")
        yield Path(folder)


def request_texts(request: CompileRequest) -> dict[str, Sequence[str]]:
    """The lines of each file of requirements."""
    lines = request.requirements
    bounds = [line.text for line in lines if line.is_constraint]
    return {
        "requirements.txt": [line.text for line in lines if not line.is_constraint],
        "constraints.txt": [*bounds, *request.held],
        "overrides.txt": request.overrides,
        "solved.txt": request.preferences,
    }


def _pyproject(request: CompileRequest) -> list[str]:
    python = request.python
    above = f"3.{int(python.split('.')[1]) + 1}"
    environments = [
        f"{PLATFORMS[platform].marker} and python_full_version < '{above}'"
        for platform in request.platforms
    ]
    lines = [
        "[project]",
        f'name = "{PROJECT}"',
        'version = "0"',
        f'requires-python = "=={python}.*"',
        f"dependencies = {list(FAMILY) if request.torch_index else []}",
        "[tool.uv]",
        f"environments = {environments}",
    ]
    if request.build_requirements:
        lines.append(build_table(request.build_requirements, above="tool.uv."))
    urls = uv_indexes()
    for url in urls:
        lines += _index(url)
    lines += ["default = true"] if urls else []
    if request.torch_index:
        lines += [*_index(request.torch_index), 'name = "torch"', "explicit = true"]
        lines += ["[tool.uv.sources]", *(f'{name} = {{ index = "torch" }}' for name in FAMILY)]
    return lines


def _index(url: str) -> list[str]:
    """An index whose pages are asked for in every run, and whose files never change.

    Some mirrors announce neither; then uv would fetch the metadata of every release, and build
    every sdist, in every run.
    """
    valid = 'api = "max-age=0", files = "max-age=365000000, immutable"'
    return ["[[tool.uv.index]]", f"url = {json.dumps(url)}", f"cache-control = {{ {valid} }}"]
