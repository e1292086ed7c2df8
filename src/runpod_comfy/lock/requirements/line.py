"""One line of a requirements file: what it asks for, as data.

A line becomes plain requirements, included files, options that are not followed, or a refusal with
the reason. What is accepted, translated and refused: docs/decisions/007-requirements-of-nodes.md
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote, urlsplit

from packaging.markers import InvalidMarker, Marker
from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as PackagingRequirement
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)

from comfy_http.redaction import without_secrets
from runpod_comfy.lock.requirements.pip_options import FLAGS, TAKING_A_VALUE, instead_of

_LONGEST_LINE = 4096
_LONGEST_QUOTE = 160


@dataclass(frozen=True, kw_only=True)
class Plain:
    """A requirement as PEP 508 has it. `note` says what was read differently from how it stood."""

    text: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Include:
    """Another file of requirements, or of constraints."""

    path: str
    kind: Literal["requirements", "constraints"]


@dataclass(frozen=True, kw_only=True)
class NotFollowed:
    """An option of pip that a lock has no use for, and how to get its effect."""

    option: str
    instead: str


@dataclass(frozen=True, kw_only=True)
class Refused:
    """Something that cannot be pinned. `name` is the distribution that it is about, if known;
    `plain` is what takes its place when the spec overrides that name; `marker` is where it holds.
    """

    text: str
    why: str
    name: str | None = None
    plain: str | None = None
    marker: str | None = None


Outcome = Plain | Include | NotFollowed | Refused

_MERGE_MARK = re.compile(r"^(<{7}|={7}|>{7}|\|{7})")
_INSTALL_COMMAND = re.compile(
    r"^[!%$]?\s*(sudo\s+)?((\S*python[\d.]*|py)(\.exe)?\s+(-\w\s+)*-m\s+)?(uv\s+)?"
    r"pip[\d.]*(\.exe)?\s+install\s+(?P<words>.+)$",
    re.IGNORECASE,
)
_VARIABLE = re.compile(r"\$\{[A-Z0-9_]+\}|%[A-Z0-9_]+%")
_VCS = re.compile(r"^(git|hg|svn|bzr)(\+|://|@)|^[\w.-]+@[\w.-]+:\S+|\.git(@[^/\s]+)?(#\S*)?$")
_URL = re.compile(r"^[a-z][a-z0-9+.-]*://|^file:", re.IGNORECASE)
_LOCAL = re.compile(r"^(\.{1,2}$|[./~\\]|[A-Za-z]:[\\/])|\.(whl|zip|tar\.gz|tgz|tar\.bz2)$")
_NAMED = re.compile(
    r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*(?P<extras>\[[^\]]*\])?\s*@\s*(?P<to>.+)$"
)
_NAME = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_MISSING_COMMA = re.compile(r"(?<=[\w*])\s*(?=(?:[<>!~=]=|[<>]))")
_STAR_AFTER_BOUND = re.compile(r"((?:[<>]=?)\s*[\d.]*\d)\.\*")


def read_line(line: str) -> Iterator[Outcome]:
    """What one logical line says, in its order."""
    if len(line) > _LONGEST_LINE:
        yield Refused(
            text=line, why=f"is a line of {len(line)} characters, which is no requirement"
        )
    elif not line.isprintable():
        yield Refused(text=line, why="holds characters that no requirement has")
    elif _MERGE_MARK.match(line):
        yield Refused(text=line, why="is left over from a git merge that was never finished")
    elif command := _INSTALL_COMMAND.match(line):
        yield from _words(line, command["words"])
    elif line.startswith("-"):
        yield from _words(line, line)
    else:
        wanted, options = _split_options(line)
        yield from _requirement(wanted, line)
        if options:
            yield from _words(line, options)


def quoted(text: str) -> str:
    """`text` as a message may show it: short, printable, without passwords."""
    shown = without_secrets(text) if "://" in text else text
    shown = shown if shown.isprintable() else ascii(shown)[1:-1]
    return f"'{shown}'" if len(shown) <= _LONGEST_QUOTE else f"'{shown[:_LONGEST_QUOTE]}…'"


def _split_options(line: str) -> tuple[str, str]:
    """A requirement and the options after it, as pip splits them: at the first word with a dash."""
    found = re.search(r"\s(-{1,2}[A-Za-z])", line)
    return (line[: found.start()].strip(), line[found.start() :].strip()) if found else (line, "")


def _words(line: str, text: str) -> Iterator[Outcome]:
    """The outcome of the words of a command: options with their values, and requirements."""
    try:
        words = shlex.split(text, posix=True)
    except ValueError:
        yield Refused(text=line, why="has a quotation mark that is never closed")
        return
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            yield from _requirement(word, line, note=f"is read as '{word}'")
            continue
        option, value = _option_and_value(word)
        if option in ("-r", "--requirement", "-c", "--constraint"):
            path = value or next(rest, "")
            kind: Literal["requirements", "constraints"] = (
                "requirements" if option in ("-r", "--requirement") else "constraints"
            )
            yield Include(path=path, kind=kind)
        elif option in ("-e", "--editable"):
            yield _refused_place(value or next(rest, ""), line, "is an editable install")
        elif option in TAKING_A_VALUE:
            yield _not_followed(option, value or next(rest, ""))
        elif option in FLAGS:
            yield _not_followed(option, "")
        else:
            yield Refused(text=line, why=f"has the option {option}, which pip does not know either")


def _option_and_value(word: str) -> tuple[str, str]:
    """`--name=value` and `-rvalue` in their two parts."""
    if word.startswith("--"):
        option, _, value = word.partition("=")
        return option, value
    if word in TAKING_A_VALUE or word in FLAGS or word[:2] not in ("-r", "-c", "-e", "-i", "-f"):
        return word, ""
    return word[:2], word[2:].strip().removeprefix("=")


def _not_followed(option: str, value: str) -> NotFollowed:
    shown = f"{option} {quoted(value)[1:-1]}" if value else option
    return NotFollowed(option=shown, instead=instead_of(option, value))


def _requirement(text: str, line: str, *, note: str = "") -> Iterator[Outcome]:
    text = _unquoted(text.strip()).rstrip(",; ").strip()
    if not text:
        return
    named = _NAMED.match(text)
    if named is not None and not _VCS.match(text):
        place = named["to"]
        yield _refused_place(
            place, line, _what(place), name=named["name"], extras=named["extras"] or ""
        )
    elif _VCS.search(text.partition(" ")[0]) or _URL.match(text) or _LOCAL.search(_before(text)):
        yield _refused_place(text, line, _what(text))
    elif _VARIABLE.search(text):
        yield _refused_text(
            text, line, "takes a value from the environment, which differs among machines"
        )
    else:
        yield _plain(text, line, note)


def _unquoted(text: str) -> str:
    """Without the quotation marks that a shell would have taken away."""
    if len(text) > 1 and text[0] in "\"'" and text.find(text[0], 1) == len(text) - 1:
        return text[1:-1].strip()
    return text


def _before(text: str) -> str:
    """The part before extras and marker."""
    return re.split(r"[\[;]", text, maxsplit=1)[0].strip()


def _what(place: str) -> str:
    if _VCS.search(place.partition(" ")[0]):
        return "is a repository, not a release on an index"
    if place.startswith("file:") or not _URL.match(place):
        return "is a place on a disk, not a release on an index"
    return "is an address, not a release on an index"


def _plain(text: str, line: str, note: str) -> Plain | Refused:
    try:
        PackagingRequirement(text)
    except InvalidRequirement:
        mended = _mended(text)
        if mended is None:
            return _refused_text(text, line, "is not a requirement such as 'numpy>=1.25'")
        return Plain(text=mended, note=f"is read as '{mended}'")
    return Plain(text=text, note=note)


def _mended(text: str) -> str | None:
    """The requirement that a person plainly meant, None if it is not plain.

    `numpy<2>=1.18` misses a comma; `>=1.9.*` has a star that older pips passed over.
    """
    wanted, semicolon, marker = text.partition(";")
    match = _NAME.match(wanted)
    if match is None:
        return None
    head = re.match(r"\s*(\[[^\]]*\])?", wanted[match.end() :])
    start = match.end() + (head.end() if head else 0)
    bounds = _MISSING_COMMA.sub(",", _STAR_AFTER_BOUND.sub(r"\1", wanted[start:].strip()))
    mended = f"{wanted[:start]}{bounds}{semicolon}{marker}"
    try:
        PackagingRequirement(mended)
    except InvalidRequirement:
        return None
    return mended


def _refused_text(text: str, line: str, why: str) -> Refused:
    name = _NAME.match(text)
    # Prose has a first word too; only what looks like a name with a bound is about that name.
    about = name is not None and re.match(r"\s*($|[\[<>=!~;$(]|==)", text[name.end() :])
    found = name[0] if name is not None and about else None
    return Refused(
        text=line,
        why=why,
        name=canonicalize_name(found) if found else None,
        plain=found,
        marker=_marker(text),
    )


def _refused_place(
    place: str, line: str, why: str, *, name: str | None = None, extras: str = ""
) -> Refused:
    address, marker = _split_marker(place)
    found = name or _name_at(address)
    plain = f"{found}{extras}" + (f" ; {marker}" if marker else "") if found else None
    return Refused(
        text=line,
        why=why,
        name=canonicalize_name(found) if found else None,
        plain=plain,
        marker=marker,
    )


def _split_marker(place: str) -> tuple[str, str | None]:
    address, semicolon, marker = place.partition(" ;")
    if not semicolon:
        address, semicolon, marker = place.partition("; ")
    return address.strip(), _valid_marker(marker) if semicolon else None


def _marker(text: str) -> str | None:
    _, semicolon, marker = text.partition(";")
    return _valid_marker(marker) if semicolon else None


def _valid_marker(text: str) -> str | None:
    try:
        return str(Marker(text.strip()))
    except InvalidMarker:
        return None


def _name_at(address: str) -> str | None:
    """The distribution that an address is probably about: `#egg=`, a file's name, a repository."""
    parts = address.partition("#")
    if egg := re.search(r"\begg=([A-Za-z0-9][A-Za-z0-9._-]*)", parts[2]):
        return egg[1]
    try:
        path = urlsplit(parts[0]).path if "://" in parts[0] else parts[0]
    except ValueError:
        return None
    segments = [unquote(part) for part in re.split(r"[/\\:]", path) if part]
    if not segments:
        return None
    last = segments[-1]
    try:
        if last.endswith(".whl"):
            return parse_wheel_filename(last)[0]
        return parse_sdist_filename(last)[0]
    except (InvalidWheelFilename, InvalidSdistFilename):
        pass
    if "archive" in segments[1:]:
        # https://github.com/<owner>/<name>/archive/<ref>.zip
        last = segments[segments.index("archive") - 1]
    last = re.sub(r"\.(git|zip|tar\.gz|tgz|tar\.bz2|whl)$", "", re.sub(r"(\.git)@.*$", r"\1", last))
    match = _NAME.match(last.partition("@")[0])
    return match[0] if match else None
