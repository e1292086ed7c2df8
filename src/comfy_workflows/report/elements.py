"""HTML elements; whatever they hold is escaped when they are written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from xml.etree import ElementTree

Element = ElementTree.Element
Child = Element | str | None


def element(name: str, attributes: Mapping[str, str] | None = None, *children: Child) -> Element:
    """An element with these attributes, and with elements and text inside; None is left out."""
    made = Element(name, dict(attributes or {}))
    for child in children:
        add(made, child)
    return made


def add(parent: Element, child: Child) -> None:
    """Appends an element or text."""
    if child is None:
        return
    if not isinstance(child, str):
        parent.append(child)
    elif len(parent):
        parent[-1].tail = (parent[-1].tail or "") + child
    else:
        parent.text = (parent.text or "") + child


def elements(name: str, contents: Iterable[Child]) -> list[Element]:
    """An element for each of the contents: the items of a list, the cells of a row."""
    return [element(name, None, content) for content in contents]


def written(page: Element) -> bytes:
    """The page as an HTML document in UTF-8."""
    text = ElementTree.tostring(page, encoding="unicode", method="html")
    # Half of a character, as JSON can hold it, has no bytes in UTF-8.
    return b"<!DOCTYPE html>\n" + text.encode("utf-8", "xmlcharrefreplace")
