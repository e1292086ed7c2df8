"""No link in the documents is dead."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.documents import DOCUMENTS, ROOT, name_of

_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)


def _links(document: Path) -> list[str]:
    """The links to files of this repository."""
    found = _LINK.findall(_CODE.sub("", document.read_text()))
    return [link for link in found if not link.startswith(("https://", "http://"))]


def _anchors(document: Path) -> set[str]:
    """The anchors of its headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in _HEADING.findall(text))
    return {heading.replace(" ", "-") for heading in kept}


def test_the_documents_are_found_and_have_links() -> None:
    assert {"README.md", "CONTRIBUTING.md", "docs/commands.md"} <= set(map(name_of, DOCUMENTS))
    assert "docs/commands.md" in _links(ROOT / "README.md")


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_link_leads_to_a_file_and_to_a_heading_in_it(document: Path) -> None:
    for link in _links(document):
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), f"{name_of(document)} links to {link}, which is not there"
        if anchor:
            assert anchor in _anchors(target), f"{name_of(document)}: {link} names no heading"


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=name_of)
def test_the_readme_leads_to_every_page(page: Path) -> None:
    assert name_of(page) in _links(ROOT / "README.md")
