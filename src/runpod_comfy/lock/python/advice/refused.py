"""Overrides for lines that cannot be pinned, such as repositories.

A release of that name on the index stands in for a repository only if its metadata names the
repository; anybody may have published something else under the name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from urllib.parse import unquote, urlsplit

from packaging.version import Version

from comfy_errors import UnavailableError
from runpod_comfy.lock.python.advice.offer import bound_of_lines, is_installable
from runpod_comfy.lock.python.solved import NEVER
from runpod_comfy.lock.python.uv_request import CompileRequest
from runpod_comfy.lock.requirements.read import RefusedLine, RequirementLine
from runpod_comfy.sources.index.files import Index
from runpod_comfy.sources.index.pip_settings import read_index_settings

# What follows the address of a repository in the addresses of its parts.
_PARTS = re.compile(r"/(-/)?(archive|releases|tree|blob|raw|tarball|zipball|issues|wiki)(/|$).*$")


@dataclass(frozen=True, kw_only=True)
class Replacement:
    """The override for a name in refused lines, and `why` the release on the index is not used."""

    override: str
    why: str = ""


def replacements_for(
    refused: Sequence[RefusedLine], request: CompileRequest, solved: Collection[str]
) -> dict[str, Replacement]:
    """A replacement for each name in refused lines. `request` has the lines that can be pinned, and
    `solved` are the distributions of their solution.

    If others ask for the distribution, it comes from the index, within their bounds. Otherwise it
    does if it is what the line means, or the same project; anything else is left out.
    """
    return {
        name: _replacement_for(
            name, [line for line in refused if line.name == name], request, solved
        )
        for name in dict.fromkeys(line.name for line in refused if line.name)
    }


def _replacement_for(
    name: str,
    refused: Sequence[RefusedLine],
    request: CompileRequest,
    solved: Collection[str],
) -> Replacement:
    others = [line for line in request.requirements if line.name == name]
    wanted = name in solved or any(not line.is_constraint for line in others)
    why = "" if wanted else _why_not_from_the_index(name, refused, request)
    if why:
        return Replacement(override=f"{name} ; {NEVER}", why=why)
    return Replacement(override=bound_of_lines(name, [*others, *map(_plain, refused)], request))


def _plain(line: RefusedLine) -> RequirementLine:
    return RequirementLine(tree="refused", text=line.plain or str(line.name), asked=line.text)


def _why_not_from_the_index(
    name: str, refused: Sequence[RefusedLine], request: CompileRequest
) -> str:
    """Why no release on the index stands in for the lines; '' if its newest one does."""
    if request.offline:
        return "the index is not asked with --offline"
    index = Index(settings=read_index_settings())
    files = index.look_up([name])[name]
    if isinstance(files, UnavailableError):
        return "the index could not be reached"
    releases = {Version(file.version) for file in files if file.yanked is None}
    newest = max((each for each in releases if not each.is_prerelease), default=None)
    if newest is None:
        return f"no index has a release of {name}"
    wheels = [
        file for file in files if Version(file.version) == newest and file.name.endswith(".whl")
    ]
    without = [
        platform
        for platform in request.platforms
        if not any(is_installable(each, replace(request, platforms=[platform])) for each in wheels)
    ]
    if without:
        where = f"Python {request.python} on {' and '.join(without)}"
        return f"{name} {newest} on the index has no wheel for {where}"
    addresses = {repository_of(line.address) for line in refused if line.address}
    homes = set(map(repository_of, index.addresses_in_metadata(wheels[0]))) if addresses else set()
    if addresses - homes or "" in addresses:
        return f"nothing says that {name} on the index is that project"
    return ""


def repository_of(address: str) -> str:
    """Host and path of the repository that an address belongs to, in lower case."""
    text = re.sub(r"^(git|hg|svn|bzr)\+", "", address.strip().partition("#")[0])
    text = re.sub(r"^[\w.-]+@([\w.-]+):(?!//)", r"ssh://\1/", text)
    try:
        parts = urlsplit(text)
        host = (parts.hostname or "").removeprefix("www.")
    except ValueError:
        return ""
    if not host:
        return ""
    path = _PARTS.sub("", unquote(parts.path).partition("@")[0])
    return f"{host}{path.rstrip('/').removesuffix('.git')}".lower()
