"""How long each node took in both runs, as bars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from comfy_errors.names import capitalized
from comfy_workflows.graph import Graph
from comfy_workflows.report.elements import Element, element, section
from comfy_workflows.report.parts import Report

# The slowest are shown; the rest opens on demand.
_AT_FIRST = 12
# A day; more is no duration of a node.
_LONGEST_MS = 86_400_000


@dataclass(frozen=True, kw_only=True)
class NodeTimes:
    """Milliseconds of one node in both runs; None where it did not run, or was not timed."""

    node: str
    before_ms: float | None
    after_ms: float | None

    @property
    def longest_ms(self) -> float:
        return max(self.before_ms or 0, self.after_ms or 0)


def node_times(report: Report) -> list[NodeTimes]:
    """The times of every node that has one, the slowest first."""
    before, after = (_nodes_ms(side.result) for side in (report.before, report.after))
    found = [
        NodeTimes(node=node, before_ms=before.get(node), after_ms=after.get(node))
        for node in dict.fromkeys([*after, *before])
    ]
    return sorted(found, key=lambda each: -each.longest_ms)


def times_section(report: Report) -> Element:
    """A row with two bars for each node, and the time of the whole run."""
    made = section("times", "Time")
    rows = node_times(report)
    sides = (report.before, report.after)
    whole = [_milliseconds(_timings(side.result).get("run_ms")) for side in sides]
    if not rows and whole == [None, None]:
        made.append(element("p", {"class": "quiet"}, "Neither run was timed."))
        return made
    for side in sides:
        if side.result is None:
            note = f"{capitalized(side.title)} has no times: they are not recorded."
            made.append(element("p", {"class": "quiet"}, note))
    titles = (report.before.title, report.after.title)
    longest = max((each.longest_ms for each in rows), default=0)
    legend = [
        element("span", {"class": f"key {name}"}, title)
        for name, title in zip(("before", "after"), titles, strict=True)
    ]
    made.append(element("p", {"class": "keys"}, *legend))
    total = NodeTimes(node="", before_ms=whole[0], after_ms=whole[1])
    table = _table(rows[:_AT_FIRST], report.graph, titles, longest)
    table.append(element("tfoot", None, _row(total, "The whole run", None)))
    made.append(table)
    rest = rows[_AT_FIRST:]
    if rest:
        more = f"{len(rest)} faster nodes" if len(rest) > 1 else "1 faster node"
        summary = element("summary", None, more)
        made.append(element("details", None, summary, _table(rest, report.graph, titles, longest)))
    return made


def duration_in_words(duration_ms: float | None) -> str:
    """`812 ms`, `12.3 s`, `4 min 5 s`; a dash for none."""
    if duration_ms is None:
        return "–"
    if duration_ms < 1000:
        return f"{duration_ms:.0f} ms"
    if duration_ms < 100_000:
        return f"{duration_ms / 1000:.1f} s"
    minutes, seconds = divmod(round(duration_ms / 1000), 60)
    return f"{minutes} min {seconds} s"


def _table(
    rows: list[NodeTimes], graph: Graph, titles: tuple[str, str], longest_ms: float
) -> Element:
    names = ("Node", *titles, "Change", "")
    classes = ("", "number", "number", "number", "bars")
    cells = [
        element("th", {"scope": "col", "class": each}, element("span", {"class": "clip"}, name))
        for name, each in zip(names, classes, strict=True)
    ]
    body = [_row(each, _name(each.node, graph), longest_ms) for each in rows]
    table = element("table", {"class": "times"})
    table.append(element("thead", None, element("tr", None, *cells)))
    table.append(element("tbody", None, *body))
    return table


def _row(times: NodeTimes, name: str, longest_ms: float | None) -> Element:
    label = element("th", {"scope": "row"}, name)
    if times.node:
        label.append(element("span", {"class": "quiet"}, times.node))
    bars = element("td", {"class": "bars", "aria-hidden": "true"})
    for which, duration_ms in (("before", times.before_ms), ("after", times.after_ms)):
        if longest_ms and duration_ms:
            width = f"width:{duration_ms / longest_ms:.2%}"
            bars.append(element("i", {"class": which, "style": width}))
    return element(
        "tr",
        None,
        label,
        element("td", {"class": "number"}, duration_in_words(times.before_ms)),
        element("td", {"class": "number"}, duration_in_words(times.after_ms)),
        element("td", {"class": "number"}, _change(times)),
        bars,
    )


def _change(times: NodeTimes) -> str:
    if not times.before_ms or times.after_ms is None:
        return "–"
    factor = times.after_ms / times.before_ms
    if factor >= 10:
        return f"×{factor:.0f}"
    percent = round((factor - 1) * 100)
    return f"+{percent}%" if percent > 0 else f"–{-percent}%" if percent else "same"


def _name(node: str, graph: Graph) -> str:
    found = graph.nodes.get(node)
    return (found.title or found.class_type) if found else "node"


def _nodes_ms(result: Mapping[str, Any] | None) -> dict[str, float]:
    nodes = _timings(result).get("nodes")
    if not isinstance(nodes, Mapping):
        return {}
    read = {str(node): _milliseconds(value) for node, value in nodes.items()}
    return {node: value for node, value in read.items() if value is not None}


def _timings(result: Mapping[str, Any] | None) -> Mapping[str, Any]:
    timings = (result or {}).get("timings")
    return timings if isinstance(timings, Mapping) else {}


def _milliseconds(value: object) -> float | None:
    """None for what is no duration: the document comes from another program."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < _LONGEST_MS else None
