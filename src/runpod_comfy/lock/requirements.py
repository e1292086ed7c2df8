"""What the trees ask of Python: the lines of their `requirements.txt`, with where each stands."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as PackagingRequirement
from packaging.utils import canonicalize_name

from comfy_errors import InvalidInputError

CORE = "core"

# Distributions that ComfyUI imports without listing them, and a file whose import shows it.
# 0.3.x got `requests` through huggingface-hub, which dropped it in its version 1.
_CORE_OMISSIONS = {"requests": Path("app/frontend_management.py")}

_INLINE_COMMENT = re.compile(r"(^|\s)#.*$")


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """One requirement. `tree` is `core` or `node:<name>`, `place` says file and line for people."""

    tree: str
    place: str
    name: str
    text: str


def read_requirements(tree: str, folder: Path) -> list[Requirement]:
    """The requirements of the tree whose files lie in `folder`; none if it lists none.

    Raises InvalidInputError for a line that is not a plain PEP 508 requirement, naming it.
    """
    path = folder / "requirements.txt"
    found = _read_file(tree, path) if path.is_file() else []
    if tree == CORE:
        found += _core_omissions(folder, {requirement.name for requirement in found})
    return found


def _read_file(tree: str, path: Path) -> list[Requirement]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"{path.name} of {tree} is not UTF-8 text: {error}",
            remedy="Use another version of that tree.",
        ) from error
    found = []
    for number, line in enumerate(text.replace("\\\n", " ").splitlines(), start=1):
        wanted = _INLINE_COMMENT.sub("", line).strip()
        if wanted:
            found.append(_parse(tree, f"{tree}, {path.name} line {number}", wanted))
    return found


def _parse(tree: str, place: str, text: str) -> Requirement:
    try:
        parsed = PackagingRequirement(text)
    except InvalidRequirement as error:
        raise InvalidInputError(
            f"{place}: '{text}' is not a plain requirement such as 'numpy>=1.25'",
            remedy="Options, URLs and editable installs cannot be pinned by hash: "
            "use a version of that tree without the line.",
        ) from error
    if parsed.url is not None:
        raise InvalidInputError(
            f"{place}: '{text}' is installed from a URL, which has no release to pin",
            remedy="Use a version of that tree which asks for a released distribution.",
        )
    return Requirement(tree=tree, place=place, name=canonicalize_name(parsed.name), text=text)


def _core_omissions(folder: Path, listed: set[str]) -> list[Requirement]:
    return [
        Requirement(tree=CORE, place=f"{CORE}, imported by {witness}", name=name, text=name)
        for name, witness in _CORE_OMISSIONS.items()
        if name not in listed and _imports(folder / witness, name)
    ]


def _imports(file: Path, name: str) -> bool:
    if not file.is_file():
        return False
    text = file.read_text(encoding="utf-8", errors="replace")
    return re.search(rf"^\s*(import|from) {name}\b", text, re.MULTILINE) is not None
