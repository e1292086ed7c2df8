"""What holds for every report that a Chromium has opened."""

from __future__ import annotations

import time

from tests.chromium import Page

DESK, PHONE = 1280, 390
LONGEST_WAIT_S = 60
PICTURES = "[...document.images].filter(each => each.checkVisibility())"
_PARTS = ("verdict", "sides", "outputs", "times", "changes", "graph")

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


def wait_until(page: Page, expression: str) -> None:
    deadline = time.monotonic() + LONGEST_WAIT_S
    while not page.value(expression):
        assert time.monotonic() < deadline, f"this did not become true: {expression}"
        time.sleep(0.05)


def require_whole(page: Page, address: str, *, width: int, scheme: str = "light") -> None:
    """Opens the report in a window of so many pixels: every part and picture is seen, every text
    can be read, nothing is wider than the window, nothing complains or is loaded from elsewhere.
    """
    page.complaints.clear()
    page.requests.clear()
    page.open(address, width=width, scheme=scheme)
    for part in _PARTS:
        box = page.value(
            f"(({{width, height}}) => [width, height])"
            f"(document.querySelector('#{part}').getBoundingClientRect())"
        )
        assert box[0] > 200, part
        assert box[1] > 50, part
        assert page.value(f"document.querySelector('#{part} h2').checkVisibility()"), part
    wait_until(page, f"{PICTURES}.every(each => each.complete)")
    assert page.value(f"{PICTURES}.filter(each => each.naturalWidth === 0).length") == 0
    # Only the graph scrolls to the side, within its own box.
    assert page.value("document.documentElement.scrollWidth") == width
    assert page.value(_FAINT) == []
    assert page.complaints == []
    assert page.requests == [address]
