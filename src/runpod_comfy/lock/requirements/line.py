"""One line of a requirements file, parsed.

A line becomes plain requirements, included files, ignored options, or a refusal with the reason.
What is accepted, translated and refused: docs/decisions/007-requirements-of-nodes.md
"""

from __future__ import annotations

import re
import shlex
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from urllib.parse import unquote, urlsplit

from packaging.markers import Marker
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)

from comfy_http.redaction import without_secrets
from runpod_comfy.spec.values import parsed_requirement

_LONGEST_LINE = 4096
_LONGEST_QUOTE = 160


@dataclass(frozen=True, kw_only=True)
class Plain:
    """A PEP 508 requirement. `note` says how the line was reinterpreted, if it was."""

    text: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Include:
    """A reference to another file of requirements or constraints."""

    path: str
    is_constraint: bool


@dataclass(frozen=True, kw_only=True)
class NotFollowed:
    """A pip option that a lock ignores, and how to get its effect."""

    option: str
    instead: str


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A line that cannot be pinned. `name` is its distribution, if known; `plain` is used instead
    if the spec overrides that name; `marker` is the line's marker. `address` is the repository, URL
    or path that the line names in place of a release.
    """

    why: str
    name: str | None = None
    plain: str | None = None
    marker: str | None = None
    address: str | None = None


Outcome = Plain | Include | NotFollowed | Refused

# Options of pip found in requirements files: none of them affects a lock.
_INDEX = (
    "A lock only uses indexes that the spec names: if a distribution is only on this one, add it "
    "to this machine's pip configuration"
)
_TORCH_INDEX = "To get PyTorch from there, set options.torch.index in the spec"
_PRE = "Select a pre-release with options.overrides, such as 'name>=2.0rc1'"
_FILES = "The lock has every file of a release, and wheels are preferred"
_HASHES = "The lock has the hashes of its index"
_MACHINE = "That is a setting of the machine, not of a version"
_MANNER = "A lock is always installed the same way"

_WITH_VALUE: Mapping[str, str] = {
    "-i --index-url --pypi-url --extra-index-url -f --find-links": _INDEX,
    "--no-binary --only-binary": _FILES,
    "--hash": _HASHES,
    "--trusted-host --cert --client-cert --proxy --timeout --default-timeout --retries "
    "--cache-dir -t --target --prefix --root --python --root-user-action": _MACHINE,
    "--use-feature --use-deprecated --upgrade-strategy --progress-bar --platform -C "
    "--config-settings --config-setting --global-option --install-option --build-option "
    "--exists-action --python-version --abi --implementation --index-strategy "
    "--torch-backend": _MANNER,
}
_WITHOUT_VALUE: Mapping[str, str] = {
    "--no-index": _INDEX,
    "--pre": _PRE,
    "--prefer-binary": _FILES,
    "--require-hashes": _HASHES,
    "-U --upgrade -I --ignore-installed --force-reinstall --no-deps --no-dependencies "
    "--no-cache-dir --no-build-isolation --user -q -qq --quiet -v -vv --verbose --no-input "
    "--isolated --use-pep517 --no-use-pep517 --break-system-packages --ignore-requires-python "
    "--no-warn-script-location --no-warn-conflicts --disable-pip-version-check "
    "--check-build-dependencies --no-compile --system -y": _MANNER,
}

_MERGE_MARK = re.compile(r"^(<{7}|={7}|>{7}|\|{7})")
_INSTALL_COMMAND = re.compile(
    r"^[!%$]?\s*(sudo\s+)?((\S*python[\d.]*|py)(\.exe)?\s+(-\w\s+)*-m\s+)?(uv\s+)?"
    r"pip[\d.]*(\.exe)?\s+install\s+(?P<words>.+)$",
    re.IGNORECASE,
)
_VARIABLE = re.compile(r"\$\{[A-Z0-9_]+\}|%[A-Z0-9_]+%")
_VCS = re.compile(
    r"^(git|hg|svn|bzr)(\+|://|@)|^[\w.-]+@[\w.-]+:\S+|\.git(@[^/\s]+)?(#\S*)?$", re.IGNORECASE
)
_URL = re.compile(r"^[a-z][a-z0-9+.-]*://|^file:", re.IGNORECASE)
_LOCAL = re.compile(
    r"^(\.{1,2}$|[./~\\]|[A-Za-z]:[\\/])|\.(whl|zip|tar\.gz|tgz|tar\.bz2)$", re.IGNORECASE
)
_NAMED = re.compile(
    r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*(?P<extras>\[[^\]]*\])?\s*@\s*(?P<to>.+)$"
)
_NAME = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_NAME_AND_EXTRAS = re.compile(_NAME.pattern + r"\s*(\[[^\]]*\])?")
_MISSING_COMMA = re.compile(r"(?<=[\w*])\s*(?=(?:[<>!~=]=|[<>]))")
_STAR_AFTER_BOUND = re.compile(r"((?:[<>]=?)\s*[\d.]*\d)\.\*")


def _each(table: Mapping[str, str]) -> dict[str, str]:
    return {option: instead for options, instead in table.items() for option in options.split()}


# Each option, and how to get its effect.
_TAKING_A_VALUE = _each(_WITH_VALUE)
_FLAGS = _each(_WITHOUT_VALUE)


def read_line(line: str) -> Iterator[Outcome]:
    """The parts of one logical line, in order."""
    if len(line) > _LONGEST_LINE:
        yield Refused(why=f"has {len(line)} characters, which is too long for a requirement")
    elif not line.isprintable():
        yield Refused(why="has characters that are not allowed in a requirement")
    elif _MERGE_MARK.match(line):
        yield Refused(why="is a conflict marker of an unfinished git merge")
    elif command := _INSTALL_COMMAND.match(line):
        yield from _words(command["words"])
    elif line.startswith("-"):
        yield from _words(line)
    else:
        # Splits a requirement from its options as pip does: at the first word with a dash.
        wanted, *options = re.split(r"\s(?=-{1,2}[A-Za-z])", line, maxsplit=1)
        yield from _requirement(wanted)
        if options:
            yield from _words(options[0])


def quoted(text: str) -> str:
    """`text` for messages: short, printable, without passwords."""
    shown = without_secrets(text) if "://" in text else text
    shown = shown if shown.isprintable() else ascii(shown)[1:-1]
    return f"'{shown}'" if len(shown) <= _LONGEST_QUOTE else f"'{shown[:_LONGEST_QUOTE]}…'"


def _words(text: str) -> Iterator[Outcome]:
    """The parts of a command line: options with their values, and requirements."""
    try:
        words = deque(shlex.split(text, posix=True))
    except ValueError:
        yield Refused(why="has an unclosed quotation mark")
        return

    def following() -> str:
        return words.popleft() if words else ""

    while words:
        word = words.popleft()
        if not word.startswith("-"):
            yield from _requirement(word, note=f"is read as '{word}'")
            continue
        option, value = _option_and_value(word)
        if option == "-I" and words and _URL.match(words[0]):
            option = "-i"
        if option in _FLAGS:
            yield _not_followed(option, "")
        elif option in _TAKING_A_VALUE:
            yield _not_followed(option, value or following())
        elif option in ("-r", "--requirement", "-c", "--constraint"):
            is_constraint = option in ("-c", "--constraint")
            yield Include(path=value or following(), is_constraint=is_constraint)
        elif option in ("-e", "--editable"):
            yield _refused_place(value or following(), "is an editable install")
        else:
            # What comes after it may be its value, so it is not read as a requirement.
            yield Refused(why=f"has the option {option}, which pip does not know either")
            return


def _option_and_value(word: str) -> tuple[str, str]:
    """Splits `--name=value` and `-rvalue` into two parts."""
    if word.startswith("--"):
        option, _, value = word.partition("=")
        # pip's are all in lower case.
        return option.lower(), value
    if word in _TAKING_A_VALUE or word in _FLAGS or word[:2] not in ("-r", "-c", "-e", "-i", "-f"):
        return word, ""
    return word[:2], word[2:].strip().removeprefix("=")


def _not_followed(option: str, value: str) -> NotFollowed:
    shown = f"{option} {quoted(value)[1:-1]}" if value else option
    instead = _TAKING_A_VALUE.get(option) or _FLAGS[option]
    if instead == _INDEX and "pytorch.org" in value.lower():
        instead = _TORCH_INDEX
    return NotFollowed(option=shown, instead=instead)


def _requirement(text: str, *, note: str = "") -> Iterator[Plain | Refused]:
    text = _unquoted(text.strip()).rstrip(",; ").strip()
    if not text:
        return
    named = _NAMED.match(text)
    before_marker = re.split(r"[\[;]", text, maxsplit=1)[0].strip()
    if named is not None and not _VCS.match(text):
        place = named["to"]
        yield _refused_place(place, _what(place), named["name"], named["extras"] or "")
    elif _VCS.search(text.partition(" ")[0]) or _URL.match(text) or _LOCAL.search(before_marker):
        yield _refused_place(text, _what(text))
    elif _VARIABLE.search(text):
        yield _refused_text(
            text, "uses a variable of the environment, which differs between machines"
        )
    elif is_requirement(text):
        yield Plain(text=text, note=note)
    elif meant := _meant(text):
        yield Plain(text=meant, note=f"is read as '{meant}'")
    else:
        yield _refused_text(text, "is not a requirement such as 'numpy>=1.25'")


def _unquoted(text: str) -> str:
    """The word without the quotation marks that a shell would remove."""
    if len(text) > 1 and text[0] in "\"'" and text.find(text[0], 1) == len(text) - 1:
        return text[1:-1].strip()
    return text


def _what(place: str) -> str:
    if _VCS.search(place.partition(" ")[0]):
        return "is a repository, not a release on an index"
    if place.startswith("file:") or not _URL.match(place):
        return "is a local path, not a release on an index"
    return "is a URL, not a release on an index"


def is_requirement(text: str) -> bool:
    """True if the text is a valid PEP 508 requirement, for packaging and for uv."""
    try:
        parsed_requirement(text)
    except ValueError:
        return False
    return True


def _meant(text: str) -> str | None:
    """The requirement that was obviously meant, or None.

    `numpy<2>=1.18` lacks a comma; `>=1.9.*` has a star that older pips ignored.
    """
    wanted, semicolon, marker = text.partition(";")
    head = _NAME_AND_EXTRAS.match(wanted)
    if head is None:
        return None
    bounds = _STAR_AFTER_BOUND.sub(r"\1", wanted[head.end() :].strip())
    meant = f"{head[0]}{_MISSING_COMMA.sub(',', bounds)}{semicolon}{marker}"
    return meant if is_requirement(meant) else None


def _refused_text(text: str, why: str) -> Refused:
    wanted, marker = _split_marker(text, at=";")
    name = _NAME.match(wanted)
    # Prose has a first word too; only a name with a bound is treated as a name.
    about = name is not None and re.match(r"\s*($|[\[<>=!~$(])", wanted[name.end() :])
    return _refused(why, name[0] if name and about else None, "", marker)


def _refused_place(place: str, why: str, name: str | None = None, extras: str = "") -> Refused:
    address, marker = _split_marker(place, at=r" ;|; ")
    return replace(_refused(why, name or _name_at(address), extras, marker), address=address)


def _refused(why: str, name: str | None, extras: str, marker: str | None) -> Refused:
    if name is None:
        return Refused(why=why, marker=marker)
    wanted = f"{name}{extras}" if is_requirement(f"{name}{extras}") else name
    plain = f"{wanted} ; {marker}" if marker else wanted
    return Refused(why=why, name=canonicalize_name(name), plain=plain, marker=marker)


def _split_marker(text: str, *, at: str) -> tuple[str, str | None]:
    """The text before the marker, and the marker if it is valid and has a value."""
    wanted, *rest = re.split(at, text, maxsplit=1)
    if not rest:
        return wanted.strip(), None
    try:
        marker = Marker(rest[0].strip())
        marker.evaluate()
    except ValueError:
        return wanted.strip(), None
    return wanted.strip(), str(marker)


def _name_at(address: str) -> str | None:
    """The distribution that a URL probably refers to: from `#egg=`, a file name, a repository."""
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
