"""The Python requirements of the trees: the lines of their `requirements.txt`, with their
positions.

A node's requirements are untrusted input: each line is accepted, translated, reported as ignored,
or rejected. Nothing outside the tree is read. Bytes are decoded and split by pip's "Requirements
File Format": byte order marks, a PEP 263 coding line, continuation by a backslash, comments after a
space. Packages that a node lists elsewhere are only mentioned.
"""

from __future__ import annotations

import codecs
import contextlib
import functools
import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from comfy_errors import InvalidInputError
from comfy_errors.names import listed, quantity
from comfy_files.progress import Say
from comfy_files.user_paths import real
from runpod_comfy.lock.requirements.line import (
    Include,
    NotFollowed,
    Plain,
    Refused,
    quoted,
    read_line,
)

CORE = "core"
# The name under which the spec's own requirements are listed beside the trees.
SPEC = "spec"

# ComfyUI imports `requests` there without listing it: 0.3.x got it through huggingface-hub, which
# dropped it in version 1.
_IMPORTS_REQUESTS = Path("app/frontend_management.py")

REQUIREMENTS = "requirements.txt"
"""The file of a tree that lists its requirements."""
_LARGEST_FILE_BYTES = 1024 * 1024
_MOST_FILES = 50

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CODING_LINE = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_COMMENT = re.compile(r"(^|\s)#.*$")
# Special spaces from word processors and web pages, and byte order marks in the middle of joined
# files.
_ODD_SPACE = re.compile(r"[\t\f\v\u00a0\u2000-\u200a\u202f\u205f\u3000]")
_NO_WIDTH = re.compile(r"[\ufeff\u200b]")
_SCRIPT = "install.py"
_NAMED_AT_MOST = 4


def name_of(text: str) -> str:
    """The normalized name of the distribution in a requirement or a pin."""
    return canonicalize_name(Requirement(text).name)


@dataclass(frozen=True, kw_only=True)
class RequirementLine:
    """One requirement. `tree` is `core` or `node:<name>`, `place` the file and line for messages.

    `text` is what is solved, `asked` the original text. A constraint (`-c`) bounds a distribution
    without requiring it.
    """

    tree: str
    place: str = ""
    text: str
    asked: str
    is_constraint: bool = False

    @functools.cached_property
    def name(self) -> str:
        """The normalized name of the distribution."""
        return name_of(self.text)

    @property
    def parsed(self) -> Requirement:
        """`text` parsed by packaging; changing the result does not change the line."""
        return Requirement(self.text)


@dataclass(frozen=True, kw_only=True)
class RefusedLine(Refused):
    """A line that cannot be pinned, with its position and its text. An override in the spec would
    need its `name`.
    """

    place: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Everything that the trees ask for, and every rejected line."""

    requirements: list[RequirementLine] = field(default_factory=list)
    refused: list[RefusedLine] = field(default_factory=list)


def read_requirements(
    trees: Sequence[tuple[str, Path]],
    *,
    overridden: frozenset[str],
    applies: Callable[[str], bool],
    say: Say,
) -> Reading:
    """The requirements of all trees (pairs of name and folder), in order.

    `overridden` are the names in the spec's overrides: a line about one of them is never rejected.
    `applies` says whether a marker is true on any platform of the spec; a line for other platforms
    is skipped. `say` reports ignored options.
    """
    reading = Reading()
    for tree, folder in trees:
        _TreeReader(
            tree=tree,
            folder=folder,
            overridden=overridden,
            applies=applies,
            say=say,
            reading=reading,
        ).read()
    return reading


def refused_message(refused: Sequence[RefusedLine]) -> str:
    """A message that names every rejected line."""
    lines = "; ".join(f"{line.place}: {line.text} {line.why}" for line in refused)
    return f"requirements that cannot be pinned: {lines}"


def requirements_of_core(folder: Path, *, say: Say) -> list[str]:
    """The PEP 508 requirements of a core alone, for an installation without a lock.

    Raises InvalidInputError naming the lines that are not PEP 508 requirements.
    """
    reading = read_requirements(
        [(CORE, folder)], overridden=frozenset(), applies=lambda _marker: True, say=say
    )
    if reading.refused:
        raise InvalidInputError(
            refused_message(reading.refused),
            remedy="Use another version of ComfyUI, without the line.",
        )
    return [line.text for line in reading.requirements if not line.is_constraint]


@dataclass(frozen=True, kw_only=True)
class _TreeReader:
    """Reads the files of one tree into `reading`, each file once."""

    tree: str
    folder: Path
    overridden: frozenset[str]
    applies: Callable[[str], bool]
    say: Say
    reading: Reading
    seen: set[tuple[Path, bool]] = field(default_factory=set)

    def read(self) -> None:
        path = self.folder / REQUIREMENTS
        if path.is_file() or path.is_symlink():
            self._file(path, f"{self.tree}, {REQUIREMENTS}", REQUIREMENTS, is_constraint=False)
        elif self.tree != CORE:
            self._mention_pyproject()
        if self.tree == CORE:
            self._add_requests()

    def _file(self, path: Path, place: str, text: str, *, is_constraint: bool) -> None:
        root, resolved = real(self.folder), real(path)
        if (resolved, is_constraint) in self.seen:
            # Files that include each other are read once.
            return
        if not resolved.is_relative_to(root):
            self._refuse(place, text, Refused(why="leads outside the tree"))
        elif not resolved.is_file():
            self._refuse(place, text, Refused(why="names a file that is not in the tree"))
        elif resolved.stat().st_size > _LARGEST_FILE_BYTES or len(self.seen) >= _MOST_FILES:
            self._refuse(place, text, Refused(why="is too large for a requirements file"))
        else:
            self.seen.add((resolved, is_constraint))
            name = resolved.relative_to(root).as_posix()
            for number, line in logical_lines(decoded(resolved.read_bytes())):
                here = f"{self.tree}, {name} line {number}"
                self._line(line, here, resolved.parent, is_constraint=is_constraint)

    def _line(self, line: str, place: str, folder: Path, *, is_constraint: bool) -> None:
        for outcome in read_line(line):
            match outcome:
                case Plain(text=text, note=note):
                    self._add(place, line, text, note, is_constraint=is_constraint)
                case Include(path=path):
                    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+:|$", path):
                        fault = Refused(why="does not name a file of the tree")
                        self._refuse(place, line, fault)
                        continue
                    bounds = is_constraint or outcome.is_constraint
                    self._file(folder / path, place, line, is_constraint=bounds)
                case NotFollowed(option=option, instead=instead):
                    self.say(f"{place}: {option} is ignored. {instead}")
                case Refused(why=why, marker=marker):
                    name = outcome.name or self._own_name(line)
                    if marker is not None and not self.applies(marker):
                        continue
                    if name is None or name not in self.overridden:
                        self._refuse(place, line, replace(outcome, name=name))
                        continue
                    note = f"{why}; the spec's override for {name} is used"
                    self._add(place, line, outcome.plain or name, note, is_constraint=is_constraint)

    def _add(self, place: str, asked: str, text: str, note: str, *, is_constraint: bool) -> None:
        parsed = Requirement(text)
        if parsed.marker is not None and not self.applies(str(parsed.marker)):
            return
        if note:
            self.say(f"{place}: {quoted(asked)} {note}")
        if is_constraint and parsed.extras:
            parsed.extras = set()
            text = str(parsed)
        self.reading.requirements.append(
            RequirementLine(
                tree=self.tree,
                place=place,
                text=text,
                asked=quoted(asked)[1:-1],
                is_constraint=is_constraint,
            )
        )

    def _own_name(self, line: str) -> str | None:
        """The name of the tree itself, for `-e .`, if its pyproject.toml has one."""
        if re.fullmatch(r"(-e|--editable)?[ =]*\.{1,2}/?(\[[^\]]*\])?", line) is None:
            return None
        name = _project(self.folder).get("name")
        return canonicalize_name(name) if isinstance(name, str) else None

    def _refuse(self, place: str, text: str, fault: Refused) -> None:
        line = RefusedLine(place=place, text=quoted(text), **vars(fault))
        self.reading.refused.append(line)

    def _mention_pyproject(self) -> None:
        """ComfyUI-Manager and the Comfy Registry install requirements.txt only, and so do we; a
        node that lists dependencies elsewhere will lack something at import.
        """
        dependencies = _project(self.folder).get("dependencies")
        if isinstance(dependencies, list) and dependencies:
            self.say(
                f"{self.tree} lists {quantity(len(dependencies), 'dependency', 'dependencies')} in "
                f"pyproject.toml and has no {REQUIREMENTS}; like ComfyUI-Manager, only the latter "
                "is used. Put what it needs into options.requirements of the spec"
            )

    def _add_requests(self) -> None:
        file = self.folder / _IMPORTS_REQUESTS
        listed = {line.name for line in self.reading.requirements if line.tree == CORE}
        if "requests" in listed or not file.is_file():
            return
        text = file.read_text(encoding="utf-8", errors="replace")
        if re.search(r"^\s*(import|from) requests\b", text, re.MULTILINE):
            place = f"{CORE}, imported by {_IMPORTS_REQUESTS}"
            self._add(place, "requests", "requests", "", is_constraint=False)


def _project(folder: Path) -> dict[str, object]:
    """The table `project` of a tree's pyproject.toml; empty if it cannot be read."""
    try:
        document = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return {}
    project = document.get("project")
    return project if isinstance(project, dict) else {}


def decoded(data: bytes) -> str:
    """Decodes `data` by rules that do not depend on the machine.

    Where pip would use the machine's locale, Latin-1 is used: it always succeeds, and anything
    outside ASCII can only be in a comment, since requirements are ASCII.
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, errors="replace")
    codings = (
        coding[1].decode() for coding in map(_CODING_LINE.match, data.splitlines()[:2]) if coding
    )
    for encoding in (next(codings, "utf-8"), "utf-8"):
        with contextlib.suppress(LookupError, UnicodeDecodeError):
            return data.decode(encoding)
    return data.decode("latin-1")


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Each non-empty logical line, with the number of its first physical line."""
    pending: list[str] = []
    first = 0
    lines = re.split(r"\r\n|\r|\n", text)
    for number, physical in enumerate(lines, start=1):
        first = first if pending else number
        is_comment = physical.lstrip().startswith("#")
        if physical.endswith("\\") and not is_comment and number < len(lines):
            pending.append(physical[:-1])
            continue
        joined = "".join([*pending, "" if is_comment else physical])
        pending = []
        line = _COMMENT.sub("", _ODD_SPACE.sub(" ", _NO_WIDTH.sub("", joined))).strip()
        if line:
            yield first, line


def listed_elsewhere(tree: str, folder: Path, *, runs_script: bool) -> str | None:
    """A note about the tree `node:<name>` in `folder` if it has no requirements.txt and other files
    that may say what it needs, else None. `runs_script` says whether the spec runs its install.py.
    """
    if (folder / REQUIREMENTS).exists():
        return None
    has_script = (folder / _SCRIPT).is_file()
    files = sorted(
        quoted(path.relative_to(folder).as_posix())[1:-1]
        for pattern in ("*.txt", "requirements/*.txt")
        for path in folder.glob(pattern)
        if "requirement" in path.relative_to(folder).as_posix().lower() and path.is_file()
    )
    if (has_script and runs_script) or not (has_script or files):
        return None
    found = listed([_SCRIPT, *files] if has_script else files, at_most=_NAMED_AT_MOST)
    run = ""
    if has_script:
        run = f'run its {_SCRIPT} ("run_install_scripts": ["{tree.partition(":")[2]}"]), or '
    return (
        f"{tree} has no {REQUIREMENTS} but {found}, not read by resolve: {run}put the lines that "
        "it needs into options.requirements of the spec"
    )
