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

from comfy_workflows.report.page import write_report
from comfy_workflows.report.parts import Report
from tests.chromium import Page, chromium
from tests.comfy_workflows.report.seen import (
    DESK,
    LONGEST_WAIT_S,
    PHONE,
    PICTURES,
    require_whole,
    wait_until,
)
from tests.comfy_workflows.report.two_runs import (
    HOSTILE,
    full_report,
    landscape,
    with_a_patch,
)
from tests.media_files import Array

# Chromium is no Python package.
pytestmark = pytest.mark.slow


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
    deadline = time.monotonic() + LONGEST_WAIT_S
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
    require_whole(page, address, width=width, scheme=scheme)
    shown = (
        "[...document.querySelectorAll('article')].filter(each => each.checkVisibility()).length"
    )
    assert page.value(shown) == len(report.comparison.findings)
    assert page.value(f"{PICTURES}.length") > 10
    brightness = page.value("getComputedStyle(document.body).backgroundColor.match(/\\d+/g)[0]")
    assert (int(brightness) > 128) == (scheme == "light")


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
    wait_until(page, f"{media}.every(each => each.currentTime > 0.2)")


@pytest.mark.parametrize("name", ["same.mp4", "same.mkv", "same.flac", "same.ogg"])
def test_the_formats_of_videos_and_sounds_play(page: Page, address: str, name: str) -> None:
    page.open(address, width=DESK)
    media = _media_in(name)
    page.value(f"{media}[0].play()")
    wait_until(page, f"{media}[0].currentTime > 0.2")


def test_a_video_that_cannot_be_played_says_so_and_no_other(page: Page, address: str) -> None:
    page.open(address, width=DESK)
    shown = "[...document.querySelectorAll('.not-shown')].filter(each => !each.hidden)"
    wait_until(page, f"{shown}.length === 1")
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
