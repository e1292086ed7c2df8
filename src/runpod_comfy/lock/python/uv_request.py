"""What uv is asked, a request and the temporary project that states it, and why it failed: its
explanation as an error that names the spec's lines.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from comfy_errors import InvalidInputError, OperationFailedError, UnavailableError
from comfy_home.platforms import PLATFORMS
from comfy_http.redaction import without_secrets
from runpod_comfy.lock.python.building import build_remedy, build_table
from runpod_comfy.lock.python.torch_family import FAMILY
from runpod_comfy.lock.requirements.read import RequirementLine
from runpod_comfy.sources.index.pip_settings import uv_indexes

# The name of the temporary project, which uv's explanations use for all lines together.
PROJECT = "these-requirements"
# uv formats its explanation with box characters and a multiplication sign.
_DRAWING = re.compile(r"[\u00d7\u2500-\u257f\u25b6]")
_NETWORK_TROUBLE = ("error sending request", "Failed to fetch", "dns error", "timed out", "connect")
_NOT_THE_REASON = ("DEBUG", "TRACE", "INFO", "WARN ", "warning: Requirements file")
_UNREADABLE = re.compile(
    r"Couldn't parse requirement in `(?P<file>[^`]+)` at position (?P<at>\d+)\s+"
    r"(?:cause: )?(?P<why>[^\n]+)"
)
_UNBUILDABLE = re.compile(r"Failed to (?:download and )?build `(?P<what>[^`]+)`")


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


class NoSolutionError(Exception):
    """No set of versions satisfies `request`. `reason` is uv's explanation, `account` uv's log."""

    def __init__(self, request: CompileRequest, reason: str, account: str) -> None:
        super().__init__(reason)
        self.request = request
        self.reason = reason
        self.account = account


class UnbuiltError(OperationFailedError):
    """What the sdist `release` needs is only known once it is built, and it was not."""

    def __init__(self, message: str, *, remedy: str, release: str) -> None:
        super().__init__(message, remedy=remedy)
        self.release = release


def failure(account: str, request: CompileRequest) -> Exception:
    """The error for a run of uv that failed; `account` is what it printed."""
    told = [line for line in account.splitlines() if not line.startswith(_NOT_THE_REASON)]
    text = without_secrets(_DRAWING.sub(" ", "\n".join(told)))
    reason = " ".join(text.split())
    if built := _UNBUILDABLE.search(reason):
        # An sdist's requirements are only known once it is built, and this one cannot be built
        # here.
        name = re.split(r"[=@ ]", built["what"], maxsplit=1)[0]
        lines = [
            f"{line.place} ('{line.asked}')" for line in request.requirements if line.name == name
        ]
        lacking = build_remedy(reason)
        select = f"{lacking} Or select" if lacking else "Select"
        asked = f", which {' and '.join(lines)} asks for," if lines else ""
        return UnbuiltError(
            release=built["what"],
            message=f"{built['what']}{asked} has no matching wheel, and its sdist cannot be built "
            f"here: {reason[-600:]}",
            remedy=f"{select} a version of it that has wheels with options.overrides in the spec, "
            f'or remove it: "overrides": ["{name} ; python_version < \'3\'"]',
        )
    if fault := _UNREADABLE.search(text):
        return _unreadable(fault, request)
    if "No solution found" in reason:
        return NoSolutionError(request, text, account)
    if any(sign in reason for sign in _NETWORK_TROUBLE):
        return _unreachable(text, request)
    return OperationFailedError(
        f"uv could not resolve the Python distributions: {reason}",
        remedy="Correct 'options' in the spec or pip's configuration ('pip config list').",
    )


def _unreachable(text: str, request: CompileRequest) -> UnavailableError:
    """The error for an index that did not answer, by uv's explanation."""
    # The retries, each with its causes, come before the error.
    last = " ".join(text[text.rfind("error: ") :].split()).replace(" cause: ", ": ")
    index = request.torch_index
    if index and without_secrets(index).rstrip("/") in last:
        return UnavailableError(
            f"the index of 'options.torch.index' could not be reached: {last}",
            remedy="Check 'options.torch.index' in the spec, and the network.",
        )
    return UnavailableError(
        f"the Python package index could not be reached: {last}",
        remedy="Check the network, and the index that pip is configured to use "
        "('pip config list').",
    )


def _unreadable(fault: re.Match[str], request: CompileRequest) -> InvalidInputError:
    """The error for a requirement that uv cannot read; uv names its position in the file."""
    content = ("\n".join(request_texts(request).get(fault["file"], ())) + "\n").encode()
    number = content[: int(fault["at"])].count(b"\n")
    text = content.decode().split("\n")[number]
    places = [f"{line.place}: '{line.asked}'" for line in request.requirements if line.text == text]
    return InvalidInputError(
        f"{'; '.join(places) or repr(text)} is not a requirement: {fault['why'].strip()}",
        remedy="Correct that line, use another version of that node, or override the distribution "
        "with options.overrides in the spec.",
    )
