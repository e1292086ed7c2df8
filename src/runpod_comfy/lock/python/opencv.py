"""One opencv: four distributions put the same folder `cv2/` in place, so a lock has one of them.

The last one installed would win, and removing any breaks the others. Which one is chosen, and why:
docs/decisions/007-requirements-of-nodes.md
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from packaging.requirements import Requirement as PackagingRequirement
from packaging.utils import canonicalize_name

from runpod_comfy.lock.python.uv_compile import CompileRequest, Dependency
from runpod_comfy.lock.requirements.read import Requirement

NAMES = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)

# A marker that holds nowhere: an override with it takes a distribution out of the solution.
NEVER = "python_version < '3'"


@dataclass(frozen=True, kw_only=True)
class OneOpencv:
    """A request in which all opencv names lead to `name`. `replaced` are the trees' lines that
    asked for another, in the words of the lines as they stood."""

    name: str
    request: CompileRequest
    replaced: Sequence[Requirement]


def chosen_name(present: Collection[str], overrides: Sequence[str]) -> str:
    """The name that stands for all in `present`.

    One that an override of the spec names wins. Otherwise it is headless, which needs no
    display libraries, and contrib, which holds all that the plain ones do, where any is.
    """
    named = [canonicalize_name(PackagingRequirement(text).name) for text in overrides]
    for text, name in zip(overrides, named, strict=True):
        if name in NAMES and NEVER.split()[0] not in text:
            return name
    contrib = any("contrib" in name for name in present)
    return "opencv-contrib-python-headless" if contrib else "opencv-python-headless"


def with_one_opencv(
    request: CompileRequest,
    name: str,
    *,
    markers: Sequence[str | None],
    dependencies: Sequence[Dependency],
) -> OneOpencv:
    """The request with `name` in the place of all others.

    `markers` say where any of them is wanted; `dependencies` are what other distributions ask.
    """
    others = [other for other in NAMES if other != name]
    lines = [_renamed(item, name) if item.name in others else item for item in request.requirements]
    wanted = [_line(name, "", marker, asked=name) for marker in sorted(set(markers), key=str)]
    bounds = [
        _line(name, item.bounds, item.marker, asked=f"{item.name}{item.bounds}", who=item.who)
        for item in dependencies
        if item.name in others and item.bounds
    ]
    kept = [
        text
        for text in request.overrides
        if canonicalize_name(PackagingRequirement(text).name) not in others
    ]
    return OneOpencv(
        name=name,
        request=replace(
            request,
            requirements=[*lines, *wanted, *bounds],
            overrides=[*kept, *(f"{other} ; {NEVER}" for other in others)],
        ),
        replaced=[item for item in request.requirements if item.name in others],
    )


def _renamed(item: Requirement, name: str) -> Requirement:
    parsed = PackagingRequirement(item.text)
    marker = f" ; {parsed.marker}" if parsed.marker else ""
    return replace(item, name=name, text=f"{name}{parsed.specifier}{marker}")


def _line(name: str, bounds: str, marker: str | None, *, asked: str, who: str = "") -> Requirement:
    return Requirement(
        tree="opencv",
        place=who or "one opencv for all",
        name=name,
        text=f"{name}{bounds}" + (f" ; {marker}" if marker else ""),
        asked=asked,
        # A distribution's bound is not a wish of its own: that it is wanted is said once.
        is_constraint=bool(bounds),
    )
