"""What the trees ask of Python: the lines of their `requirements.txt`, with where each stands.

A node's requirements are hostile input: each line is accepted, translated, said to be not followed,
or refused by name. Nothing outside the tree is read.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement as PackagingRequirement
from packaging.utils import canonicalize_name

from comfy_errors import InvalidInputError
from comfy_files.progress import Say
from runpod_comfy.lock.requirements.line import (
    Include,
    NotFollowed,
    Plain,
    Refused,
    quoted,
    read_line,
)
from runpod_comfy.lock.requirements.text import decoded, logical_lines

CORE = "core"

# Distributions that ComfyUI imports without listing them, and a file whose import shows it.
# 0.3.x got `requests` through huggingface-hub, which dropped it in its version 1.
_CORE_OMISSIONS = {"requests": Path("app/frontend_management.py")}

_FILE = "requirements.txt"
_LARGEST_FILE_BYTES = 1024 * 1024
_MOST_FILES = 50


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """One requirement. `tree` is `core` or `node:<name>`, `place` says file and line for people.

    `text` is what is solved, `asked` how it stands in the file. A constraint (`-c`) bounds a
    distribution without asking for it.
    """

    tree: str
    place: str
    name: str
    text: str
    asked: str
    is_constraint: bool = False


@dataclass(frozen=True, kw_only=True)
class RefusedLine:
    """A line that cannot be pinned: where it stands, what it is, and the name that an override
    in the spec would have to have, if there is one."""

    place: str
    text: str
    why: str
    name: str | None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Everything that the trees ask for, and everything that had to be refused."""

    requirements: list[Requirement] = field(default_factory=list)
    refused: list[RefusedLine] = field(default_factory=list)


def read_requirements(
    trees: Sequence[tuple[str, Path]],
    *,
    overridden: frozenset[str],
    applies: Callable[[Marker], bool],
    say: Say,
) -> Reading:
    """The requirements of all trees, `(name, folder)` each, in their order.

    `overridden` are the names that the spec's overrides settle: a line about one of them is never
    refused. `applies` says whether a marker holds on any platform of the spec; a line for
    other platforms is passed over. `say` is told what is not followed.
    """
    reading = Reading()
    for tree, folder in trees:
        reader = _TreeReader(
            tree=tree,
            folder=folder,
            overridden=overridden,
            applies=applies,
            say=say,
            reading=reading,
        )
        reader.read()
        if tree == CORE:
            listed = {item.name for item in reading.requirements if item.tree == CORE}
            reading.requirements.extend(_core_omissions(folder, listed))
    return reading


def refused_error(refused: Sequence[RefusedLine], remedy: str) -> InvalidInputError:
    """The error that names every line which had to be refused."""
    lines = "; ".join(f"{line.place}: {line.text} {line.why}" for line in refused)
    return InvalidInputError(f"requirements that cannot be pinned: {lines}", remedy=remedy)


def requirements_of_core(folder: Path, *, say: Say) -> list[str]:
    """The requirements of a core alone, as PEP 508 has them, for an installation without a lock.

    Raises InvalidInputError naming the lines that are no such requirements.
    """
    reading = read_requirements(
        [(CORE, folder)], overridden=frozenset(), applies=lambda _marker: True, say=say
    )
    if reading.refused:
        raise refused_error(reading.refused, "Use another version of ComfyUI, without the line.")
    return [item.text for item in reading.requirements if not item.is_constraint]


@dataclass(frozen=True, kw_only=True)
class _TreeReader:
    """Reads the files of one tree into `reading`, each of them once."""

    tree: str
    folder: Path
    overridden: frozenset[str]
    applies: Callable[[Marker], bool]
    say: Say
    reading: Reading
    seen: set[tuple[Path, bool]] = field(default_factory=set)

    def read(self) -> None:
        path = self.folder / _FILE
        if path.is_file() or path.is_symlink():
            self._file(path, f"{self.tree}, {_FILE}", _FILE, is_constraint=False)
        else:
            self._mention_pyproject()

    def _file(self, path: Path, place: str, text: str, *, is_constraint: bool) -> None:
        root, resolved = self.folder.resolve(), path.resolve()
        if (resolved, is_constraint) in self.seen:
            # Files that include each other say everything once.
            return
        if not resolved.is_relative_to(root):
            self._refuse(place, text, "leads out of the tree")
        elif not resolved.is_file():
            self._refuse(place, text, "names a file that the tree does not have")
        elif resolved.stat().st_size > _LARGEST_FILE_BYTES or len(self.seen) >= _MOST_FILES:
            self._refuse(place, text, "is more than a list of requirements can be")
        else:
            self.seen.add((resolved, is_constraint))
            name = resolved.relative_to(root).as_posix()
            for number, line in logical_lines(decoded(resolved.read_bytes())):
                here = f"{self.tree}, {name} line {number}"
                self._line(line, here, resolved.parent, is_constraint=is_constraint)

    def _line(self, line: str, place: str, folder: Path, *, is_constraint: bool) -> None:
        for outcome in read_line(line):
            match outcome:
                case Plain():
                    self._plain(outcome, line, place, is_constraint=is_constraint)
                case Include():
                    self._include(outcome, line, place, folder, is_constraint=is_constraint)
                case NotFollowed():
                    self.say(f"{place}: {outcome.option} is not followed. {outcome.instead}")
                case Refused():
                    self._refused(outcome, line, place, is_constraint=is_constraint)

    def _include(
        self, include: Include, line: str, place: str, folder: Path, *, is_constraint: bool
    ) -> None:
        if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+:", include.path) or not include.path:
            self._refuse(place, line, "names no file of the tree")
            return
        self._file(
            folder / include.path,
            place,
            line,
            is_constraint=is_constraint or include.kind == "constraints",
        )

    def _plain(self, plain: Plain, line: str, place: str, *, is_constraint: bool) -> None:
        parsed = PackagingRequirement(plain.text)
        if parsed.marker is not None and not self.applies(parsed.marker):
            return
        if plain.note:
            self.say(f"{place}: {quoted(line)} {plain.note}")
        text = plain.text
        if is_constraint and parsed.extras:
            parsed.extras = set()
            text = str(parsed)
        self._add(place, parsed.name, text, line, is_constraint=is_constraint)

    def _refused(self, refused: Refused, line: str, place: str, *, is_constraint: bool) -> None:
        if refused.marker is not None and not self.applies(Marker(refused.marker)):
            return
        name = refused.name or self._own_name(line)
        if name is None or name not in self.overridden:
            self._refuse(place, line, refused.why, name)
            return
        self.say(f"{place}: {quoted(line)} {refused.why}; the spec's override for {name} counts")
        self._add(place, name, refused.plain or name, line, is_constraint=is_constraint)

    def _own_name(self, line: str) -> str | None:
        """`-e .` is about the tree itself, whose name its pyproject.toml may tell."""
        if re.fullmatch(r"(-e|--editable)?[ =]*\.{1,2}/?(\[[^\]]*\])?", line) is None:
            return None
        name = _project(self.folder).get("name")
        return canonicalize_name(name) if isinstance(name, str) else None

    def _add(self, place: str, name: str, text: str, line: str, *, is_constraint: bool) -> None:
        self.reading.requirements.append(
            Requirement(
                tree=self.tree,
                place=place,
                name=canonicalize_name(name),
                text=text,
                asked=quoted(line)[1:-1],
                is_constraint=is_constraint,
            )
        )

    def _refuse(self, place: str, text: str, why: str, name: str | None = None) -> None:
        self.reading.refused.append(RefusedLine(place=place, text=quoted(text), why=why, name=name))

    def _mention_pyproject(self) -> None:
        """ComfyUI-Manager and the Comfy Registry install what requirements.txt lists, and so do
        we; a node that lists it elsewhere will miss something when it is imported."""
        dependencies = _project(self.folder).get("dependencies")
        if self.tree != CORE and isinstance(dependencies, list) and dependencies:
            self.say(
                f"{self.tree} lists {len(dependencies)} dependencies in pyproject.toml and has no "
                f"{_FILE}: like ComfyUI-Manager, this takes only the latter"
            )


def _project(folder: Path) -> dict[str, object]:
    """The table `project` of a tree's pyproject.toml; empty where it cannot be read."""
    try:
        document = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return {}
    project = document.get("project")
    return project if isinstance(project, dict) else {}


def _core_omissions(folder: Path, listed: set[str]) -> Iterator[Requirement]:
    for name, witness in _CORE_OMISSIONS.items():
        if name not in listed and _imports(folder / witness, name):
            place = f"{CORE}, imported by {witness}"
            yield Requirement(tree=CORE, place=place, name=name, text=name, asked=name)


def _imports(file: Path, name: str) -> bool:
    if not file.is_file():
        return False
    text = file.read_text(encoding="utf-8", errors="replace")
    return re.search(rf"^\s*(import|from) {name}\b", text, re.MULTILINE) is not None
