"""uv's explanation of why there is no solution: in plain sentences, and what it says about who
needs what.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from comfy_errors import ComfyError, OperationFailedError, UnavailableError
from comfy_home.platforms import PLATFORMS
from runpod_comfy.lock.python.uv_request import PROJECT

# A page, a page for some platforms only, and what a release needs.
_NOT_CACHED = re.compile(
    "was not found in the cache|there are no versions of [a-z0-9._-]+(?=[ ,{])"
    "|because the network was disabled"
)

_LONGEST = 900
_SPLIT = re.compile(r"for split \(markers: (?P<marker>[^)]*)\)")
_NEEDED_PYTHON = re.compile(r"Python\s?>=\s?(3\.\d+)")
_NAME = r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?"
_BOUND = r"(?:===|==|~=|!=|<=|>=|<|>)[^\s,]+"
_NEED = re.compile(
    rf"(?P<who>{_NAME})(?:\[[^]]*\])?(?:{_BOUND})* depends? on "
    rf"(?P<name>{_NAME})(?:\[[^]]*\])?(?P<bounds>{_BOUND}(?:, ?{_BOUND})*)"
)


def needs_in_reason(reason: str) -> Iterator[tuple[str, str]]:
    """The bounds that distributions, not lines, have on others: pairs of name and bounds."""
    text = re.sub(r"(?<=\w)\{[^}]*\}", "", " ".join(reason.split()))
    for found in _NEED.finditer(text):
        if found["who"] != PROJECT:
            yield found["name"], found["bounds"].replace(" ", "").rstrip(".")


def is_not_cached(reason: str) -> bool:
    """Whether uv, which ran offline, lacked something that an index would have answered."""
    return bool(_NOT_CACHED.search(" ".join(reason.split())))


def needed_python(reason: str) -> str | None:
    """The Python version, say `3.12`, that the reason asks for."""
    found = _NEEDED_PYTHON.search(reason)
    return found[1] if found else None


def fault_of_one_line(reason: str, python: str) -> tuple[type[ComfyError], str]:
    """What is wrong with a single line that cannot be satisfied, possibly with constraints."""
    text = " ".join(reason.split())
    if "not found in the package registry" in text or "not found in the provided" in text:
        return UnavailableError, "needs a distribution that no index has"
    # One release among those that need another Python may be yanked.
    if needed_python(text) and "Python version" in text:
        return OperationFailedError, f"has no release for Python {python}"
    if "was yanked" in text:
        return UnavailableError, "matches only yanked releases"
    if "-compatible wheels" in text or "no wheels with a matching" in text:
        return OperationFailedError, f"has no wheel for Python {python}{_platform(reason)}"
    if re.search("there is no version of|only the following versions|only .* is available", text):
        return UnavailableError, "asks for a version that no index has"
    return OperationFailedError, "cannot be satisfied"


def in_words(reason: str) -> str:
    """uv's explanation in plain sentences."""
    where = _platform(reason)
    text = " ".join(reason.split())
    text = re.sub(r"^.*?No solution found when resolving dependencies[^:]*:?", "", text)
    text = re.sub(r"^.*?\bcause: ", "", text)
    text = re.sub(r"\s*hint: .*$", "", text)
    text = re.sub(r"^[^)]*\):\s*", "", text) if text.startswith("markers") else text
    text = re.sub(r"(?<=\w)\{[^}]*\}", "", text)
    text = text.replace(f"{PROJECT} depends on", "the lines ask for")
    text = text.replace(", we can conclude that your requirements are unsatisfiable", "")
    text = re.sub(r"`([^`]*)`-compatible", "compatible", text)
    text = text.strip()
    if len(text) > _LONGEST:
        text = text[:_LONGEST].rsplit(" ", 1)[0] + " …"
    return f"Why{where}: {text}" if text else "uv gives no reason"


def marker_of_split(reason: str) -> str:
    """The marker of the platforms that uv found no solution for; '' if it does not say."""
    split = _SPLIT.search(" ".join(reason.split()))
    return split["marker"] if split else ""


def is_for(marker: str, platform: str) -> bool:
    """True if a marker of uv's is about the platform."""
    return all(part in marker for part in PLATFORMS[platform].marker.split(" and "))


def _platform(reason: str) -> str:
    marker = marker_of_split(reason)
    return next((f" on {name}" for name in PLATFORMS if is_for(marker, name)), "")
