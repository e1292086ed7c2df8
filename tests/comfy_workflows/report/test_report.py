"""A report is one HTML file, of which nothing is missing and nothing can run."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from comfy_errors import OperationFailedError
from comfy_workflows.report.report import write_report
from tests.comfy_workflows.report.two_runs import HOSTILE, full_report, small_report

# Elements without an end, as HTML has them.
_VOID = frozenset({"meta", "img", "input", "br"})


class Document(HTMLParser):
    """What a browser finds in a page: elements with their attributes, and the text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, str] = {}
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        place = self._open[-1] if self._open else ""
        self.texts[place] = self.texts.get(place, "") + data

    def all(self, name: str) -> list[str]:
        """The values of an attribute."""
        return [attributes[name] for _, attributes in self.elements if name in attributes]


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Document:
    path = tmp_path_factory.mktemp("report") / "out.html"
    write_report(path, full_report())
    return Document(path)


def test_the_file_needs_no_other(document: Document) -> None:
    addresses = [*document.all("src"), *document.all("href")]
    assert len(addresses) > 20
    assert {address[:5] for address in addresses if not address.startswith("#")} == {"data:"}
    assert not re.search(r"url\(|@import", document.texts["style"])


def test_links_and_labels_lead_somewhere(document: Document) -> None:
    identities = document.all("id")
    assert len(identities) == len(set(identities))
    targets = {address[1:] for address in document.all("href") if address.startswith("#")}
    assert targets | set(document.all("aria-labelledby")) <= set(identities)
    assert all(attributes["alt"] for tag, attributes in document.elements if tag == "img")


def test_only_the_page_s_own_script_may_run(document: Document) -> None:
    (policy,) = (each for each in document.all("content") if "default-src" in each)
    digest = base64.b64encode(hashlib.sha256(document.texts["script"].encode()).digest()).decode()
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy
    assert not [name for _, each in document.elements for name in each if name.startswith("on")]


def test_hostile_texts_are_text(document: Document, tmp_path: Path) -> None:
    assert [each for tag, each in document.elements if tag == "img" and each["src"] == "x"] == []
    path = tmp_path / "out.html"
    write_report(path, small_report(title=HOSTILE, workflow=f"{HOSTILE}\x1b\ud800"))
    hostile = Document(path)
    assert hostile.texts["h1"] == HOSTILE.replace("\u202e", "\ufffd")
    # The drawing of the graph has titles as well.
    assert hostile.texts["title"].startswith(hostile.texts["h1"])
    assert len(hostile.texts["script"]) == len(document.texts["script"])


def test_a_report_is_the_same_each_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_report(tmp_path / name, small_report())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_report_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OperationFailedError, match="the report .* could not be written"):
        write_report(tmp_path, small_report())
