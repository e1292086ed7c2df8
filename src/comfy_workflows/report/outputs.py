"""The outputs of both runs: pictures side by side, videos, sounds, texts, and the numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from comfy_errors.names import capitalized, quantity
from comfy_workflows.compare.compare import ComparedOutput, Verdict
from comfy_workflows.compare.content import rule_of, tracks_of
from comfy_workflows.compare.decoded import UndecodableError
from comfy_workflows.compare.measures import size_in_words
from comfy_workflows.compare.output import Output
from comfy_workflows.graph import Graph
from comfy_workflows.report.difference import (
    Stills,
    farthest_apart,
    picture_of,
)
from comfy_workflows.report.elements import Element, add, element, section, with_short_hashes
from comfy_workflows.report.embedded import (
    Embedded,
    NotShownError,
    Room,
    as_png,
    embedded,
    size_bytes,
    small_enough,
)
from comfy_workflows.report.lines import line_differences, text_block, text_of
from comfy_workflows.report.parts import Report
from comfy_workflows.report.sounds import wave_drawing, waves_of
from comfy_workflows.report.viewer import figure, not_shown, viewer

# In the order of the page.
_TONES: dict[Verdict, str] = {
    "different": "bad",
    "missing": "bad",
    "new": "new",
    "within tolerance": "warn",
    "same content": "good",
    "equal": "good",
}
_ORDER = tuple(_TONES)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A finding with both outputs, as far as they are there. `number` is that of its card."""

    finding: ComparedOutput
    number: int
    before: Output | None
    after: Output | None

    @property
    def identity(self) -> str:
        return f"output-{self.number}"

    @property
    def is_quiet(self) -> bool:
        """True if there is nothing to compare by eye."""
        return self.finding.verdict in ("equal", "same content")


def pairs_of(report: Report) -> list[Pair]:
    """A pair for each finding; those that do not hold come first."""
    then = {output.place: output for output in report.before.run.outputs}
    now = {output.place: output for output in report.after.run.outputs}
    ordered = sorted(report.comparison.findings, key=lambda each: _ORDER.index(each.verdict))
    return [
        Pair(
            finding=finding,
            number=number,
            before=then.get(finding.output.place),
            after=now.get(finding.output.place),
        )
        for number, finding in enumerate(ordered, 1)
    ]


def outputs_section(report: Report, pairs: list[Pair]) -> Element:
    """A card for each output."""
    room = Room()
    titles = (report.before.title, report.after.title)
    loud = [_card(pair, report.graph, titles, room) for pair in pairs if not pair.is_quiet]
    quiet = [_card(pair, report.graph, titles, room) for pair in pairs if pair.is_quiet]
    made = section("outputs", "Outputs")
    if not pairs:
        made.append(element("p", {"class": "quiet"}, "Neither run made an output."))
    made.extend(loud)
    if quiet:
        if loud:
            made.append(
                element(
                    "h3",
                    {"class": "group"},
                    f"{quantity(len(quiet), 'output')} without a difference",
                )
            )
        made.append(element("div", {"class": "grid"}, *quiet))
    return made


def badge(verdict: Verdict) -> Element:
    """The verdict as a coloured word."""
    return element("span", {"class": f"badge {_TONES[verdict]}"}, verdict)


def node_in_words(graph: Graph, node: str) -> str:
    """`SaveImage`, or `SaveImage “Result”` if the node has a title; empty for an unknown id."""
    found = graph.nodes.get(node)
    if found is None:
        return ""
    titled = found.title and found.title != found.class_type
    return f"{found.class_type} “{found.title}”" if titled else found.class_type


def _card(pair: Pair, graph: Graph, titles: tuple[str, str], room: Room) -> Element:
    finding = pair.finding
    title = f"{pair.identity}-title"
    card = element(
        "article",
        {"class": f"card {_TONES[finding.verdict]}", "id": pair.identity, "aria-labelledby": title},
        element(
            "header",
            None,
            element("h3", {"id": title}, finding.output.title),
            element("span", {"class": "quiet"}, node_in_words(graph, finding.output.node)),
            badge(finding.verdict),
        ),
    )
    add(card, _numbers(finding))
    if pair.is_quiet or pair.before is None or pair.after is None:
        _add_sentence(card, finding)
        _add_alone(card, pair, titles, room)
    else:
        _add_both(card, pair, pair.before, pair.after, titles, room)
    add(card, _files(pair, titles))
    return card


def _numbers(finding: ComparedOutput) -> Element | None:
    numbers = finding.numbers
    if not numbers:
        return None
    ssim = numbers.get("ssim")
    shown = {
        "Largest difference": (numbers.get("max_difference"), "{:.4g} of 255"),
        "PSNR": (numbers.get("psnr_db"), "{:.1f} dB"),
        # Downwards: what differs is not 1.
        "SSIM": (None if ssim is None else math.floor(ssim * 1e5) / 1e5, "{:.5f}"),
        "Changed": (numbers.get("changed"), "{:.2%}"),
        "Perceptual hash": (numbers.get("hash_distance"), "{:.0f} of 64 bits"),
    }
    made = element("dl", {"class": "numbers"})
    for name, (value, form) in shown.items():
        if value is not None:
            item = element("div", None, element("dt", None, name))
            made.append(item)
            text = form.format(value)
            # What rounds to nothing is not nothing.
            item.append(element("dd", None, "under 0.01%" if text == "0.00%" else text))
    return made


def _add_sentence(card: Element, finding: ComparedOutput) -> None:
    """What differs, where no numbers say it."""
    if finding.sentence and finding.numbers is None:
        sentence = f"{capitalized(finding.sentence)}."
        card.append(element("p", None, with_short_hashes(sentence)))


def _add_alone(card: Element, pair: Pair, titles: tuple[str, str], room: Room) -> None:
    """One side: the outputs are the same, or there is just one."""
    output = pair.after or pair.before
    assert output is not None, "a finding has an output"
    title = titles[1] if pair.after else titles[0]
    text = _text(output)
    if text is not None:
        card.append(text_block(text))
        return
    shown = _shown(output, room)
    if shown is not None:
        caption = None if pair.is_quiet else f"Only in {title}"
        card.append(figure(shown, output.title, caption, "only"))


def _add_both(
    card: Element,
    pair: Pair,
    before: Output,
    after: Output,
    titles: tuple[str, str],
    room: Room,
) -> None:
    texts = (_text(before), _text(after))
    if texts[0] is not None and texts[1] is not None:
        card.append(line_differences(texts[0], texts[1]))
        return
    _add_sentence(card, pair.finding)
    shown = (_shown(before, room), _shown(after, room))
    figures = [
        figure(each, output.title, title, name)
        for each, output, title, name in zip(
            shown, (before, after), titles, ("before", "after"), strict=True
        )
        if each is not None
    ]
    kinds = {each.kind if isinstance(each, Embedded) else "" for each in shown if each is not None}
    stills = _stills(before, after) if figures else None
    if stills is not None and stills.count == 1 and kinds == {"picture"}:
        card.append(viewer(pair.identity, figures, stills, titles, room))
        return
    if figures:
        card.append(element("div", {"class": "pair"}, *figures))
    if kinds and kinds <= {"video", "audio"}:
        attributes = {"type": "button", "class": "both", "hidden": "hidden"}
        card.append(element("button", attributes, "Play both"))
        _add_waves(card, before, after, titles)
    if stills is not None:
        _add_stills(card, pair, stills, titles, room)


def _add_waves(card: Element, before: Output, after: Output, titles: tuple[str, str]) -> None:
    """The sounds of both, if they can be laid over each other."""
    if before.open is None or after.open is None:
        return
    try:
        waves = waves_of(tracks_of(before.open, "media"), tracks_of(after.open, "media"))
    except (UndecodableError, OSError):
        return
    if waves is not None:
        card.append(wave_drawing(waves, titles))


def _add_stills(
    card: Element, pair: Pair, stills: Stills, titles: tuple[str, str], room: Room
) -> None:
    """The frame of a video or an animation that differs most."""
    try:
        pictures = [
            Embedded(kind="picture", uri=as_png(small, room), width=small.width)
            for pixels in (stills.before, stills.after)
            for small in (small_enough(picture_of(pixels)),)
        ]
    except NotShownError as error:
        card.append(not_shown("The frame that differs most", error))
        return
    figures = [
        figure(picture, f"Frame {stills.number}", title, name)
        for picture, title, name in zip(pictures, titles, ("before", "after"), strict=True)
    ]
    if stills.count > 1:
        heading = f"Frame {stills.number:,} of {stills.count:,}, which differs most"
        card.append(element("h4", None, heading))
    card.append(viewer(pair.identity, figures, stills, titles, room))


def _text(output: Output) -> str | None:
    try:
        return text_of(output)
    except OSError:
        # The card says so where it shows the file.
        return None


def _shown(output: Output, room: Room) -> Embedded | NotShownError | None:
    try:
        return embedded(output, room)
    except NotShownError as error:
        return error


def _stills(before: Output, after: Output) -> Stills | None:
    rules = [rule_of(output.mime) for output in (before, after)]
    if rules[0] != rules[1] or before.open is None or after.open is None:
        return None
    try:
        return farthest_apart(tracks_of(before.open, rules[0]), tracks_of(after.open, rules[1]))
    except (UndecodableError, OSError):
        return None


def _files(pair: Pair, titles: tuple[str, str]) -> Element:
    """Names, sizes and hashes of both files."""
    rows = []
    for output, title in zip((pair.before, pair.after), titles, strict=True):
        if output is not None:
            # Files that are equal were not decoded.
            decoded = pair.finding.verdict not in ("equal", "new", "missing")
            facts = [output.name, output.mime, *_facts(output, decoded=decoded)]
            about = element("dd", None, " · ".join(each for each in facts if each))
            about.append(element("code", None, f"sha256 {output.sha256}"))
            rows.append(element("div", None, element("dt", None, title), about))
    return element(
        "details",
        {"class": "files"},
        element("summary", None, "Files"),
        element("dl", None, *rows),
    )


def _facts(output: Output, *, decoded: bool) -> list[str]:
    try:
        size = f"{size_bytes(output):,} bytes" if output.open else f"not read: {output.unreadable}"
        facts = output.content.facts if decoded and output.content else None
    except OSError as error:
        return [f"not read: {error.strerror or error}"]
    return [size_in_words(facts) if facts else "", size]
