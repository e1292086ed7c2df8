"""Two texts as one list of lines, of which some were removed and some added."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher

from comfy_errors.names import quantity
from comfy_workflows.compare.output import Output
from comfy_workflows.report.elements import Element, element

_MOST_BYTES = 200_000
_MOST_LINES = 2_000
_LONGEST_LINE = 2_000
# How many equal lines are shown around a change.
_AROUND = 3
_TEXTS = frozenset({"application/json", "image/svg+xml", "model/gltf+json"})


def text_of(output: Output) -> str | None:
    """What a text, or a file of text, says; None for other files, long ones, and what cannot be
    read. Raises OSError.
    """
    is_text = output.mime.startswith("text/") or output.mime in _TEXTS
    if output.open is None or not is_text:
        return None
    with output.open() as stream:
        content = stream.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        return None
    return content.decode("utf-8", "surrogatepass" if output.kind == "text" else "replace")


def text_block(text: str) -> Element:
    return element("pre", {"class": "text", "tabindex": "0"}, text)


def line_differences(before: str, after: str) -> Element:
    """The lines of both, those that were removed before those that were added."""
    then, now = _lines(before), _lines(after)
    matcher = SequenceMatcher(None, then, now, autojunk=False)
    block = element("div", {"class": "lines", "tabindex": "0", "role": "group"})
    block.set("aria-label", "Lines that were removed and added")
    groups = list(matcher.get_grouped_opcodes(_AROUND))
    if not groups:
        # The difference may be where lines end, or in what was cut off.
        block.append(element("p", {"class": "gap"}, "No difference in the lines shown here."))
    end = 0
    for group in groups:
        _add_gap(block, group[0][1] - end)
        for kind, *ranges in group:
            i1, i2, j1, j2 = ranges
            block.extend(_part(kind, then[i1:i2], now[j1:j2]))
        end = group[-1][2]
    _add_gap(block, len(then) - end if groups else 0)
    return block


def _lines(text: str) -> list[str]:
    lines = text.splitlines() or [""]
    shown = [
        line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}…"
        for line in lines[:_MOST_LINES]
    ]
    if len(lines) > _MOST_LINES:
        shown.append(f"… {len(lines) - _MOST_LINES} more lines")
    return shown


def _add_gap(block: Element, count: int) -> None:
    if count > 0:
        block.append(element("p", {"class": "gap"}, f"{quantity(count, 'equal line')}"))


def _part(kind: str, then: list[str], now: list[str]) -> Iterator[Element]:
    if kind == "equal":
        for line in now:
            yield element("p", None, _sign(" "), line)
        return
    pairs = len(then) == len(now)
    for number, line in enumerate(then):
        yield _changed("del", "-", line, now[number] if pairs else "")
    for number, line in enumerate(now):
        yield _changed("ins", "+", line, then[number] if pairs else "")


def _changed(name: str, sign: str, line: str, other: str) -> Element:
    """The line, with the part that its counterpart does not have marked."""
    start = _equal_at_start(line, other)
    rest = min(len(line), len(other)) - start
    end = min(_equal_at_start(line[::-1], other[::-1]), rest)
    middle = line[start : len(line) - end]
    marked = element("mark", None, middle) if middle and (start or end) else middle
    return element(name, None, _sign(sign), line[:start], marked, line[len(line) - end :])


def _equal_at_start(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def _sign(sign: str) -> Element:
    return element("span", {"class": "sign"}, sign)
