"""What differs between the two versions, part by part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from comfy_errors.names import quantity
from comfy_workflows.report.elements import Element, element, section, with_short_hashes
from comfy_workflows.report.parts import Part, Replaced, Report, ShownChange, ShownRun

_HEADINGS: dict[Part, str] = {
    "core": "ComfyUI",
    "node": "Custom nodes",
    "package": "Python packages",
    "model": "Models",
    "setting": "Settings",
}
# Groups with more are closed at first.
_OPEN = 12


def changes_section(report: Report) -> Element:
    """Tables of changes, the nodes that were replaced, and the models that the workflow uses."""
    made = section("changes", "What differs between the versions")
    known = {change.name for change in report.changes if change.part == "model"}
    used = _used_models(report.before, report.after)
    models = [change for change in used if change.name not in known]
    if not report.changes and not report.replaced and not models:
        made.append(element("p", {"class": "quiet"}, "Nothing else is known to differ."))
        return made
    made.extend(_replaced(report.replaced))
    for part, heading in _HEADINGS.items():
        changes = [change for change in report.changes if change.part == part]
        if changes:
            made.append(_group(heading, changes))
    if models:
        made.append(_group("Models that the workflow uses", models))
    return made


def shortened(value: str) -> Element:
    """The value as code; long hashes with their first twelve digits, the whole as its title."""
    short = with_short_hashes(value)
    return element("code", {"title": value} if short != value else {}, short)


def _replaced(nodes: Sequence[Replaced]) -> list[Element]:
    if not nodes:
        return []
    items = []
    for each in nodes:
        name = element("strong", None, each.class_type)
        number = element("span", {"class": "quiet"}, each.node)
        items.append(element("li", None, name, " ", number, " ", each.sentence))
    heading = element("h3", None, "Nodes of this workflow that were replaced")
    return [heading, element("ul", {"class": "replaced"}, *items)]


def _group(heading: str, changes: Sequence[ShownChange]) -> Element:
    rows = [_row(change) for change in changes]
    names = ("What", "Before", "After")
    head = element("tr", None, *(element("th", {"scope": "col"}, name) for name in names))
    table = element("table", {"class": "changes"})
    table.append(element("thead", None, head))
    table.append(element("tbody", None, *rows))
    count = element("span", {"class": "quiet"}, quantity(len(changes), "change"))
    summary = element("summary", None, element("h3", None, heading), count)
    attributes = {"open": "open"} if len(changes) <= _OPEN else {}
    return element("details", {"class": "group", **attributes}, summary, table)


def _row(change: ShownChange) -> Element:
    name = element("th", {"scope": "row"}, change.name)
    if change.key:
        name.append(element("span", {"class": "quiet"}, change.key))
    return element(
        "tr",
        None,
        name,
        element("td", {"data-name": "before"}, _value(change.before, "not there")),
        element("td", {"data-name": "after"}, _value(change.after, "removed")),
    )


def _value(value: str | None, absent: str) -> Element:
    return element("em", {"class": "quiet"}, absent) if value is None else shortened(value)


def _used_models(before: ShownRun, after: ShownRun) -> list[ShownChange]:
    """The models of the workflow whose content is not the same in both runs."""
    if before.result is None or after.result is None:
        return []
    then, now = (_hashes(side.result) for side in (before, after))
    return [
        ShownChange(part="model", name=path, before=then.get(path), after=now.get(path))
        for path in dict.fromkeys([*now, *then])
        if then.get(path) != now.get(path)
    ]


def _hashes(result: Mapping[str, Any] | None) -> dict[str, str]:
    models = (result or {}).get("models")
    found: dict[str, str] = {}
    for model in models if isinstance(models, list) else []:
        if isinstance(model, Mapping) and isinstance(model.get("path"), str):
            found[model["path"]] = str(model.get("sha256") or "not verified")
    return found
