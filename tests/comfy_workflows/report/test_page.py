"""The page in a real Chromium, from a file: as people see it, on a desk and on a phone."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from comfy_workflows.report.parts import Report
from comfy_workflows.report.report import write_report
from tests.chromium import Page, chromium
from tests.comfy_workflows.report.two_runs import (
    HOSTILE,
    full_report,
    landscape,
    with_a_patch,
)
from tests.media_files import Array

# Chromium is no Python package.
pytestmark = pytest.mark.slow

DESK, PHONE = 1280, 390
PARTS = ("verdict", "sides", "outputs", "times", "changes", "graph")
_LONGEST_WAIT_S = 60

_FAINT = """
(() => {
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => parse(colour).slice(0, 3)
    .map((part) => part / 255)
    .map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
  const back = (element) => {
    const box = element.closest("svg.node")?.querySelector(".box");
    if (box) return getComputedStyle(box).fill;
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if ((parse(colour)[3] ?? 1) === 1) return colour;
    }
  };
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    if (element.closest("script, title, .unseen, .skip")) continue;
    const style = getComputedStyle(element);
    const colour = element.closest("svg") ? style.fill : style.color;
    const [low, high] = [light(colour), light(back(element))].sort((a, b) => a - b);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < 4.5) faint.push([walker.currentNode.data, ratio]);
  }
  return faint;
})()
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("chromium")) as page:
        yield page


@pytest.fixture(scope="module")
def report() -> Report:
    return full_report()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, report: Report) -> Path:
    path = tmp_path_factory.mktemp("report") / "out.html"
    write_report(path, report)
    return path


@pytest.fixture
def address(saved: Path) -> str:
    return saved.as_uri()


def _wait_until(page: Page, expression: str) -> None:
    deadline = time.monotonic() + _LONGEST_WAIT_S
    while not page.value(expression):
        assert time.monotonic() < deadline, f"this did not become true: {expression}"
        time.sleep(0.05)


def _seen(page: Page, selector: str) -> Array:
    """The pixels of an element, as they are on the screen."""
    page.value(f"document.querySelector('{selector}').scrollIntoView({{behavior: 'instant'}})")
    box = page.value(
        f"(({{x, y, width, height}}) => ({{x: x + scrollX, y: y + scrollY, width, height}}))"
        f"(document.querySelector('{selector}').getBoundingClientRect())"
    )
    page.value("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    answer = page.send("Page.captureScreenshot", clip=box | {"scale": 1})
    with Image.open(io.BytesIO(base64.b64decode(answer["data"]))) as picture:
        return np.asarray(picture.convert("RGB").resize((512, 384)))


def _apart(one: Array, other: Array) -> float:
    """The mean distance in the middle, where the slider's line is not."""
    middle = slice(150, 450)
    difference: Any = one[:, middle].astype(int) - other[:, middle].astype(int)
    return float(np.abs(difference).mean())


def _wait_for_picture(page: Page, selector: str, wanted: Array, other: Array) -> None:
    """Chromium may paint later than it answers."""
    deadline = time.monotonic() + _LONGEST_WAIT_S
    while True:
        seen = _seen(page, selector)
        if _apart(seen, wanted) < 3 < _apart(seen, other):
            return
        assert time.monotonic() < deadline, "the picture was not seen"


@pytest.mark.parametrize("width", [DESK, PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_part_is_seen_and_nothing_is_wrong(
    page: Page, address: str, report: Report, width: int, scheme: str
) -> None:
    page.complaints.clear()
    page.requests.clear()
    page.open(address, width=width, scheme=scheme)
    for part in PARTS:
        box = page.value(
            f"(({{width, height}}) => [width, height])"
            f"(document.querySelector('#{part}').getBoundingClientRect())"
        )
        assert box[0] > 200, part
        assert box[1] > 50, part
        assert page.value(f"document.querySelector('#{part} h2').checkVisibility()"), part
    shown = (
        "[...document.querySelectorAll('article')].filter(each => each.checkVisibility()).length"
    )
    assert page.value(shown) == len(report.comparison.findings)
    pictures = "[...document.images].filter(each => each.checkVisibility())"
    _wait_until(page, f"{pictures}.every(each => each.complete)")
    assert page.value(f"{pictures}.filter(each => each.naturalWidth === 0).length") == 0
    assert page.value(f"{pictures}.length") > 10
    # Only the graph scrolls to the side, within its own box.
    assert page.value("document.documentElement.scrollWidth") == width
    brightness = page.value("getComputedStyle(document.body).backgroundColor.match(/\\d+/g)[0]")
    assert (int(brightness) > 128) == (scheme == "light")
    assert page.value(_FAINT) == []
    assert page.complaints == []
    assert page.requests == [address]


def test_the_slider_reveals_one_picture_or_the_other_by_keyboard(page: Page, address: str) -> None:
    before, after = landscape(), with_a_patch(landscape())
    page.open(address, width=DESK)
    page.value("document.querySelector('#output-1 [value=side]').focus()")
    page.press("ArrowRight")
    assert page.value("document.querySelector('#output-1 [value=slide]').checked")
    page.press("Tab")
    assert page.value("document.activeElement.type") == "range"
    page.value("document.activeElement.value = 98")
    page.press("ArrowRight")
    assert page.value("document.activeElement.value") == "99"
    _wait_for_picture(page, "#output-1 .after .frame", before, after)
    page.value("document.activeElement.value = 2")
    page.press("ArrowLeft")
    assert page.value("document.activeElement.value") == "1"
    _wait_for_picture(page, "#output-1 .after .frame", after, before)


def test_the_difference_is_shown_in_colours(page: Page, address: str) -> None:
    page.open(address, width=PHONE)
    assert not page.value("document.querySelector('#output-1 .map').checkVisibility()")
    page.value("document.querySelector('#output-1 [value=slide]').focus()")
    page.press("ArrowRight")
    assert page.value("document.querySelector('#output-1 .map').checkVisibility()")
    assert not page.value("document.querySelector('#output-1 .stack').checkVisibility()")
    page.value("document.querySelector('#output-1 .map img').decode()")
    seen = _seen(page, "#output-1 .map img").astype(int)
    colourful = seen.max(axis=-1) - seen.min(axis=-1) > 60
    assert colourful[154, 307], "the middle of the patch"
    assert not colourful[20, 20], "where nothing differs"


def _media_in(name: str) -> str:
    """The players in the card of a file."""
    card = f"find(each => each.textContent.includes('{name}'))"
    return f"[...[...document.querySelectorAll('article')].{card}.querySelectorAll('video, audio')]"


@pytest.mark.parametrize("name", ["a.webm", "a.wav"])
def test_both_videos_and_both_sounds_play_at_once(page: Page, address: str, name: str) -> None:
    page.open(address, width=DESK)
    media = _media_in(name)
    assert page.value(f"{media}.length") == 2
    page.value(f"{media}[0].closest('article').querySelector('.both').click()")
    _wait_until(page, f"{media}.every(each => each.currentTime > 0.2)")


@pytest.mark.parametrize("name", ["same.mp4", "same.mkv", "same.flac", "same.ogg"])
def test_the_formats_of_videos_and_sounds_play(page: Page, address: str, name: str) -> None:
    page.open(address, width=DESK)
    media = _media_in(name)
    page.value(f"{media}[0].play()")
    _wait_until(page, f"{media}[0].currentTime > 0.2")


def test_a_video_that_cannot_be_played_says_so_and_no_other(page: Page, address: str) -> None:
    page.open(address, width=DESK)
    shown = "[...document.querySelectorAll('.not-shown')].filter(each => !each.hidden)"
    _wait_until(page, f"{shown}.length === 1")
    assert page.value(f"{shown}[0].textContent") == "This browser cannot play this file."
    assert page.value(
        f"{shown}[0].closest('article') === {_media_in('broken.mp4')}[0].closest('article')"
    )


def test_texts_from_outside_stay_text(page: Page, address: str) -> None:
    page.open(address, width=DESK)
    assert page.value("document.title") == "demo and demo-next"
    assert page.value("document.querySelectorAll('img[src=x]').length") == 0
    shown = HOSTILE.replace("\u202e", "\ufffd")
    for part in ("verdict", "outputs", "changes", "graph"):
        assert shown in page.value(f"document.getElementById('{part}').textContent"), part


def test_a_script_that_got_into_the_page_would_not_run(page: Page, address: str) -> None:
    page.open(address, width=DESK)
    page.value(
        "document.body.append(Object.assign(document.createElement('script'),"
        "{textContent: 'document.title = \"attacked\"'}))"
    )
    assert page.value("document.title") == "demo and demo-next"


def test_the_theme_can_be_chosen(page: Page, address: str) -> None:
    page.open(address, width=DESK, scheme="dark")
    colours = []
    for _ in range(3):
        colours.append(page.value("getComputedStyle(document.body).backgroundColor"))
        page.value("document.getElementById('theme').click()")
    dark, light, chosen_dark = colours
    assert dark == chosen_dark != light
    assert page.value("document.getElementById('theme').textContent") == "Theme: system"


def test_every_part_can_be_reached_and_seen_by_keyboard(page: Page, address: str) -> None:
    page.open(address, width=DESK)
    page.press("Tab")
    assert page.value("document.activeElement.textContent") == "Skip to the report"
    page.press("Enter")
    assert page.value("document.activeElement.id") == "main"
    reached: list[str] = []
    # A button that is hidden behind its label shows the focus on that.
    outline = (
        "getComputedStyle(document.activeElement.matches('.views input') ? "
        "document.activeElement.nextElementSibling : document.activeElement)"
    )
    while True:
        page.press("Tab")
        part = page.value("document.activeElement.closest('section')?.id ?? ''")
        if not part:
            break
        reached.append(part)
        # Players show the focus on their own buttons, and the graph on the box of a node.
        if not page.value("document.activeElement.matches('video, audio, svg a')"):
            assert page.value(f"{outline}.outlineStyle") != "none", reached
    assert {"outputs", "times", "changes", "graph"} == set(reached)


def test_the_graph_becomes_larger_and_smaller(page: Page, address: str) -> None:
    page.open(address, width=PHONE)
    width = "document.querySelector('.graph svg').getBoundingClientRect().width"
    first = page.value(width)
    page.value("document.querySelector('[aria-label=Larger]').click()")
    assert page.value(width) > first
    page.value("document.querySelector('[aria-label=\"Fit the width\"]').click()")
    assert page.value(width) <= PHONE


def test_without_chromium_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AssertionError, match="apt-get install chromium"), chromium(tmp_path):
        pass
