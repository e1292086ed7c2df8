"""Pictures, videos and sounds in the page, and two pictures laid over each other."""

from __future__ import annotations

from comfy_workflows.report.difference import COLOURS, Stills, map_of
from comfy_workflows.report.elements import Element, element
from comfy_workflows.report.embedded import Embedded, NotShownError, Room, as_png

# Smaller pictures are enlarged, with sharp pixels.
_SMALL_PIXELS = 256
_VIEWS = (("side", "Side by side"), ("slide", "Slider"), ("map", "Difference"))


def figure(shown: Embedded | NotShownError, what: str, title: str | None, name: str) -> Element:
    """A picture, video or sound, or why it is not there. `name` is its class, `title` its side."""
    made = element("figure", {"class": name})
    alt = f"{what}: {title}" if title else what
    if title:
        made.append(element("figcaption", None, title))
    if isinstance(shown, NotShownError):
        made.append(not_shown("Not shown here", shown))
        return made
    if shown.kind == "picture":
        made.append(element("div", {"class": "frame"}, _img(shown.uri, shown.width, alt)))
    else:
        attributes = {"controls": "controls", "preload": "auto", "src": shown.uri}
        if shown.kind == "video":
            attributes |= {"playsinline": "playsinline", "loop": "loop"}
        made.append(element(shown.kind, attributes | {"aria-label": alt}))
        failed = "This browser cannot play this file."
        made.append(element("p", {"class": "not-shown", "hidden": "hidden"}, failed))
    if shown.note:
        made.append(element("p", {"class": "quiet"}, shown.note))
    return made


def _img(uri: str, width: int, alt: str) -> Element:
    attributes = {"src": uri, "alt": alt}
    if 0 < width < _SMALL_PIXELS:
        attributes["class"] = "small"
    return element("img", attributes)


def not_shown(what: str, error: NotShownError) -> Element:
    """The sentence in the place of a file."""
    return element("p", {"class": "not-shown"}, f"{what}: {error}.")


def viewer(
    identity: str, figures: list[Element], stills: Stills, titles: tuple[str, str], room: Room
) -> Element:
    """The same two pictures side by side, under a slider, or as the map of their differences.

    `identity` is that of the card, which has one viewer.
    """
    name = f"view-of-{identity}"
    choice = element("fieldset", {"class": "views"})
    choice.append(element("legend", {"class": "unseen"}, "View"))
    for value, label in _VIEWS:
        attributes = {"type": "radio", "name": name, "value": value}
        if value == "side":
            attributes["checked"] = "checked"
        choice.append(
            element("label", None, element("input", attributes), element("span", None, label))
        )
    slider = {
        "type": "range",
        "min": "0",
        "max": "100",
        "value": "50",
        "aria-label": f"Where {titles[0]} ends and {titles[1]} begins, in percent",
    }
    stack = element("div", {"class": "pair stack"}, *figures, element("input", slider))
    return element("div", {"class": "viewer"}, choice, stack, _map(stills, titles, room))


def _map(stills: Stills, titles: tuple[str, str], room: Room) -> Element:
    made = element("figure", {"class": "map"})
    drawn, has_dots = map_of(stills)
    try:
        image = _img(as_png(drawn, room), drawn.width, f"Where {titles[0]} and {titles[1]} differ")
        made.append(element("div", {"class": "frame"}, image))
    except NotShownError as error:
        made.append(not_shown("The map of differences", error))
    legend = element("ol", {"class": "legend", "aria-label": "Colours"})
    for number, colour in enumerate(COLOURS):
        swatch = element("i", {"style": f"background:{colour}"})
        legend.append(
            element(
                "li", None, swatch, f"{2**number}–{2 ** (number + 1) - 1}" if number else "up to 1"
            )
        )
    made.append(
        element(
            "figcaption",
            None,
            f"{stills.place()}.",
            legend,
            element(
                "span",
                {"class": "quiet"},
                "Colours: the largest difference of a channel, in steps of 255."
                + (" The few pixels are enlarged." if has_dots else ""),
            ),
        )
    )
    return made
