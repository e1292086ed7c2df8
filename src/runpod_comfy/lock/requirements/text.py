"""The text of a requirements file as the lines that pip would see, whatever its bytes are.

Order and rules are those of pip's "Requirements File Format": byte order marks, a PEP 263 coding
line, continuation by a backslash, comments after a space.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CODING_LINE = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_COMMENT = re.compile(r"(^|\s)#.*$")
# Spaces that word processors and web pages leave, and marks in the middle of joined files.
_ODD_SPACE = re.compile(r"[\t\f\v\u00a0\u2000-\u200a\u202f\u205f\u3000]")
_NO_WIDTH = re.compile(r"[\ufeff\u200b]")


def decoded(data: bytes) -> str:
    """The text of `data`, by the same rules on every machine.

    Where pip would ask the machine's locale, Latin-1 stands in: it always fits, and whatever is
    not ASCII can only belong to a comment, since no requirement may hold it.
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, errors="replace")
    for line in data.splitlines()[:2]:
        if coding := _CODING_LINE.match(line):
            try:
                return data.decode(coding[1].decode())
            except (LookupError, UnicodeDecodeError):
                break
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Each line that says something, with the number of its first physical line."""
    pending: list[str] = []
    first = 0
    lines = re.split(r"\r\n|\r|\n", text)
    for number, physical in enumerate(lines, start=1):
        first = first if pending else number
        is_comment = _COMMENT.match(physical) is not None and physical.lstrip().startswith("#")
        if physical.endswith("\\") and not is_comment and number < len(lines):
            pending.append(physical[:-1])
            continue
        joined = "".join([*pending, physical if not is_comment else ""])
        pending = []
        line = _COMMENT.sub("", _ODD_SPACE.sub(" ", _NO_WIDTH.sub("", joined))).strip()
        if line:
            yield first, line
