"""A report is one HTML file, of which nothing is missing and nothing can run."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_errors import OperationFailedError
from comfy_workflows.compare.tolerance import parse_tolerance
from comfy_workflows.report.elements import element, written
from comfy_workflows.report.page import write_report
from tests.comfy_workflows.compare.runs import file, result
from tests.comfy_workflows.report.two_runs import HOSTILE, full_report, small_report
from tests.hostile_texts import hostile
from tests.media_files import noise, picture, with_one_step

# Elements without an end, as HTML has them.
_VOID = frozenset({"meta", "img", "input", "br"})


class Document(HTMLParser):
    """What a browser finds in a page: elements with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, str] = {}
        self._open: list[str] = []
        self.feed(text)
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


def _read(path: Path) -> Document:
    return Document(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Document:
    path = tmp_path_factory.mktemp("report") / "out.html"
    write_report(path, full_report())
    return _read(path)


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
    attacked = _read(path)
    assert attacked.texts["h1"] == HOSTILE.replace("\u202e", "\ufffd")
    # The drawing of the graph has titles as well.
    assert attacked.texts["title"].startswith(attacked.texts["h1"])
    assert len(attacked.texts["script"]) == len(document.texts["script"])


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ([], [], "There are no outputs to compare"),
        (["a"], ["a"], "The output is the same"),
        (["a"], ["b"], "The output differs"),
        (["a", "a"], ["a", "a"], "Both outputs are the same"),
        (["a", "a"], ["a", "b"], "1 of 2 outputs differs"),
        (["a"] * 3, ["a", "b"], "2 of 3 outputs differ"),
        (["a"] * 3, ["a"] * 3, "All 3 outputs are the same"),
    ],
)
def test_the_verdict_comes_first(
    tmp_path: Path, before: list[str], after: list[str], verdict: str
) -> None:
    texts = [[{"node": "9", "text": each} for each in side] for side in (before, after)]
    path = tmp_path / "out.html"
    write_report(path, small_report(*(result() | {"text": each} for each in texts)))
    assert _read(path).texts["h2"].startswith(f"{verdict}The two runs")


def test_a_tolerance_is_stated(tmp_path: Path) -> None:
    write_report(
        tmp_path / "out.html",
        small_report(
            result(file(picture(noise()))),
            result(file(picture(with_one_step(noise())))),
            tolerance=parse_tolerance("max=1"),
        ),
    )
    document = _read(tmp_path / "out.html")
    assert document.texts["h2"].startswith("No output differs by more than is accepted")
    assert "Tolerance: max=1" in document.texts["li"]


def test_a_version_that_is_compared_with_itself_has_two_titles(tmp_path: Path) -> None:
    report = small_report()
    twice = replace(report, before=replace(report.before, title=report.after.title))
    write_report(tmp_path / "out.html", twice)
    heads = _read(tmp_path / "out.html").texts["th"]
    assert "demo-next, first run" in heads
    assert "demo-next, second run" in heads


def test_notes_and_warnings_are_said_and_what_the_table_shows_is_not_said_again(
    tmp_path: Path,
) -> None:
    version = {"id": "demo", "lock": None, "comfyui": "0.3.52"}
    report = small_report(
        result(text="one", version=version, warnings=["it is slow"]),
        result(text="one"),
    )
    noted = replace(report.comparison, notes=("so",))
    report = replace(report, comparison=noted)
    assert "ComfyUI was 0.3.52, and is 0.3.75." in report.comparison.changes
    write_report(tmp_path / "out.html", report)
    document = _read(tmp_path / "out.html")
    assert "sodemo warns: it is slow" in document.texts["li"]
    assert "ComfyUI was" not in document.texts["li"]
    assert {"0.3.52", "0.3.75"} <= set(re.findall(r"0\.3\.\d\d", document.texts["code"]))


@hostile(200)
@given(st.text())
def test_any_text_stays_one_text(text: str) -> None:
    written_page = written(element("p", {"title": text}, text, element("b"), text))
    document = Document(written_page.decode())
    assert [tag for tag, _ in document.elements] == ["p", "b"]
    assert list(document.elements[0][1]) == ["title"]


def test_a_report_is_the_same_each_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_report(tmp_path / name, small_report())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_report_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OperationFailedError, match="the report .* could not be written"):
        write_report(tmp_path, small_report())
