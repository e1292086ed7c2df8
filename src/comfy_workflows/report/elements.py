"""HTML elements; whatever they hold is escaped when they are written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from xml.etree import ElementTree

Element = ElementTree.Element
Child = Element | str | None

_LONG_HEX = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{20,}\b")
# Control characters, and those that turn around the direction of the text after them.
_UNSEEN = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]")


def element(name: str, attributes: Mapping[str, str] | None = None, *children: Child) -> Element:
    """An element with these attributes, and with elements and text inside; None is left out.

    Control characters become U+FFFD.
    """
    cleaned = {key: _clean(value) for key, value in (attributes or {}).items()}
    made = Element(name, cleaned)
    for child in children:
        add(made, child)
    return made


def add(parent: Element, child: Child) -> None:
    """Appends an element or text."""
    if child is None:
        return
    if not isinstance(child, str):
        parent.append(child)
        return
    text = _clean(child)
    if len(parent):
        parent[-1].tail = (parent[-1].tail or "") + text
    else:
        parent.text = (parent.text or "") + text


def elements(name: str, contents: Iterable[Child]) -> list[Element]:
    """An element for each of the contents: the items of a list, the cells of a row."""
    return [element(name, None, content) for content in contents]


def section(identity: str, title: str, *children: Child) -> Element:
    """A part of the page with a heading, which links can name by `identity`."""
    heading = element("h2", {"id": f"{identity}-title"}, title)
    attributes = {"id": identity, "aria-labelledby": f"{identity}-title"}
    return element("section", attributes, heading, *children)


def with_short_hashes(text: str) -> str:
    """The text, in which long hashes have their first twelve digits only."""
    return _LONG_HEX.sub(r"\1…", text)


def written(page: Element) -> bytes:
    """The page as an HTML document in UTF-8."""
    text = ElementTree.tostring(page, encoding="unicode", method="html")
    # Half of a character, as JSON can hold it, has no bytes in UTF-8.
    return b"<!DOCTYPE html>\n" + text.encode("utf-8", "xmlcharrefreplace")


def _clean(text: str) -> str:
    return _UNSEEN.sub("\ufffd", text)
