"""Overrides for lines that cannot be pinned, such as repositories.

A release of that name on the index stands in for a repository only if its metadata names the
repository; anybody may have published something else under the name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from urllib.parse import unquote, urlsplit

from packaging.version import Version

from comfy_errors import UnavailableError
from runpod_comfy.lock.python.advice.offer import bound_of_lines, is_installable
from runpod_comfy.lock.python.solved import NEVER
from runpod_comfy.lock.python.uv_compile import CompileRequest
from runpod_comfy.lock.requirements.read import RefusedLine, RequirementLine
from runpod_comfy.sources.index.files import Index
from runpod_comfy.sources.index.pip_settings import read_index_settings

# What follows the address of a repository in the addresses of its parts.
_PARTS = re.compile(r"/(-/)?(archive|releases|tree|blob|raw|tarball|zipball|issues|wiki)(/|$).*$")


def overrides_for(
    refused: Sequence[RefusedLine], request: CompileRequest, solved: Collection[str]
) -> list[str]:
    """An override for each name in refused lines. `request` has the lines that can be pinned, and
    `solved` are the distributions of their solution.

    If others ask for the distribution, it comes from the index, within their bounds. Otherwise it
    does if it is what the line means, or the same project; anything else is left out.
    """
    return [
        _override_for(name, [line for line in refused if line.name == name], request, solved)
        for name in dict.fromkeys(line.name for line in refused if line.name)
    ]


def _override_for(
    name: str,
    refused: Sequence[RefusedLine],
    request: CompileRequest,
    solved: Collection[str],
) -> str:
    others = [line for line in request.requirements if line.name == name]
    addresses = [line.address for line in refused if line.address]
    if (
        name in solved
        or any(not line.is_constraint for line in others)
        or _has_wheel_of(name, addresses, request)
    ):
        return bound_of_lines(name, [*others, *map(_plain, refused)], request)
    return f"{name} ; {NEVER}"


def _plain(line: RefusedLine) -> RequirementLine:
    return RequirementLine(tree="refused", text=line.plain or str(line.name), asked=line.text)


def _has_wheel_of(name: str, addresses: Sequence[str], request: CompileRequest) -> bool:
    """True if the newest release of `name` has a wheel for each platform of the request, and its
    metadata names all repositories in `addresses`.
    """
    if request.offline:
        return False
    index = Index(settings=read_index_settings())
    files = index.look_up([name])[name]
    if isinstance(files, UnavailableError):
        return False
    wheels = [file for file in files if file.name.endswith(".whl")]
    releases = {Version(file.version) for file in files if file.yanked is None}
    newest = max((each for each in releases if not each.is_prerelease), default=None)
    wheels = [file for file in wheels if Version(file.version) == newest]
    fitting = [
        next((wheel for wheel in wheels if is_installable(wheel, alone)), None)
        for alone in (replace(request, platforms=[each]) for each in request.platforms)
    ]
    if not all(fitting):
        return False
    metadata = index.metadata_of(wheels[0]) if addresses else None
    urls = [*((metadata or {}).get("project_urls") or {}).values()]
    urls += [(metadata or {}).get("home_page") or ""]
    homes = set(map(repository_of, urls))
    return all(repository_of(address) in homes - {""} for address in addresses)


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
