"""Names, numbers and options in messages: the first few of many, close matches, and plurals."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

# Below this, suggestions look odd: `node` for `demo`, `build` for `bundle`.
_ALIKE = 0.7
_SHORTEST_WORD = 3


def listed(names: Sequence[str], *, at_most: int = 10) -> str:
    """`a, b and 3 more`: the first names, and the number of the others."""
    more = len(names) - at_most
    shown = ", ".join(names[:at_most])
    return f"{shown} and {more} more" if more > 0 else shown


def in_lines(sentences: Sequence[str], *, at_most: int = 20) -> str:
    """The first sentences, each on an indented line of its own, and the number of the others."""
    more = len(sentences) - at_most
    shown = [*sentences[:at_most], *([f"and {more} more"] if more > 0 else [])]
    return "".join("\n  " + each.replace("\n", "\n  ") for each in shown)


def printable(text: str) -> str:
    """`text` for a terminal: what it would obey or not show becomes escapes. Lines and tabs stay.

    Names in a workflow, a spec or an answer of a host may hold anything.
    """
    if text.isprintable():
        return text
    return "".join(it if it.isprintable() or it in "\n\t" else ascii(it)[1:-1] for it in text)


def escaped(text: str) -> str:
    """`text` as a part of a line: as `printable`, with lines and tabs as escapes as well."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def quantity(count: int, noun: str, plural: str = "") -> str:
    """`1 pin`, `2 pins`; `plural` is for nouns that take more than an s."""
    return f"{count} {noun}" if count == 1 else f"{count} {plural or f'{noun}s'}"


def capitalized(sentence: str) -> str:
    """The sentence with its first letter as a capital, and the others as they are."""
    return sentence[:1].upper() + sentence[1:]


def as_options(**options: Any) -> str:
    """Options of a spec, to be added to it: `"options": {"python": "3.12"}`."""
    return f'"options": {json.dumps(options)}'


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` is most likely a misspelling of."""
    return next(iter(nearest_names(name, known)), None)


def nearest_names(name: str, known: Iterable[str]) -> list[str]:
    """At most three known names that `name` may be a misspelling of, the closest first.

    A word of a known name counts like the whole name: `nodes` is close to `custom_nodes`.
    """
    known = list(known)
    forms: dict[str, list[str]] = {}
    for each in known:
        forms.setdefault(each.casefold(), []).append(each)
    for each in known:
        for word in re.split(r"[\W_]+", each.casefold()):
            if len(word) >= _SHORTEST_WORD:
                forms.setdefault(word, []).append(each)
    close = difflib.get_close_matches(name.casefold(), forms, n=3, cutoff=_ALIKE)
    return list(dict.fromkeys(each for form in close for each in forms[form]))[:3]
