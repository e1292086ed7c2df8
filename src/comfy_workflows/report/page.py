"""The page around the parts of a report: the verdict first, then what it rests on. It is one HTML
file that needs nothing else, for any browser.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from dataclasses import replace
from importlib import resources
from pathlib import Path

from comfy_files.files import disk_errors, replace_file
from comfy_workflows.report.changes import changes_section, shortened
from comfy_workflows.report.drawing import drawing
from comfy_workflows.report.elements import Element, element, elements, section, written
from comfy_workflows.report.outputs import Pair, badge, outputs_section, pairs_of
from comfy_workflows.report.parts import Report, ShownRun
from comfy_workflows.report.times import times_section

_SECTIONS = {
    "outputs": "Outputs",
    "times": "Time",
    "changes": "Versions",
    "graph": "Graph",
}


def write_report(path: Path, report: Report) -> None:
    """Writes the report to `path`, whole or not at all. Raises OperationFailedError."""
    content = written(page(report))
    with disk_errors(f"the report {path} could not be written"):
        replace_file(path, content)


def page(report: Report) -> Element:
    """The whole document."""
    report = _with_two_titles(report)
    pairs = pairs_of(report)
    return element(
        "html",
        {"lang": "en"},
        _head(report.title),
        element(
            "body",
            None,
            element("a", {"class": "skip", "href": "#main"}, "Skip to the report"),
            _top(report),
            element(
                "main",
                {"id": "main", "tabindex": "-1"},
                _verdict(report, pairs),
                _sides(report),
                outputs_section(report, pairs),
                times_section(report),
                changes_section(report),
                _graph(report, pairs),
            ),
            element("footer", None, "Made by runpod-comfy. This page needs no network."),
            element("script", None, _resource("page.js")),
        ),
    )


def _with_two_titles(report: Report) -> Report:
    """A version may have been compared with itself."""
    before, after = report.before, report.after
    if before.title != after.title:
        return report
    return replace(
        report,
        before=replace(before, title=f"{before.title}, first run"),
        after=replace(after, title=f"{after.title}, second run"),
    )


def _head(title: str) -> Element:
    script = hashlib.sha256(_resource("page.js").encode()).digest()
    policy = (
        "default-src 'none'; img-src data: blob:; media-src data: blob:; "
        f"style-src 'unsafe-inline'; script-src 'sha256-{base64.b64encode(script).decode()}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return element(
        "head",
        None,
        element("meta", {"charset": "utf-8"}),
        element("meta", {"http-equiv": "Content-Security-Policy", "content": policy}),
        element("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        element("meta", {"name": "color-scheme", "content": "light dark"}),
        element("title", None, title),
        element("style", None, _resource("page.css")),
    )


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _top(report: Report) -> Element:
    links = [
        element("li", None, element("a", {"href": f"#{identity}"}, name))
        for identity, name in _SECTIONS.items()
    ]
    theme = element("button", {"type": "button", "id": "theme", "hidden": "hidden"})
    theme.append(element("span", {"class": "word"}, "Theme: "))
    theme.append(element("span", None, "system"))
    return element(
        "header",
        {"class": "top"},
        element("p", {"class": "quiet"}, report.workflow),
        element("h1", None, report.title),
        element("nav", {"aria-label": "Parts of the report"}, element("ul", None, *links), theme),
    )


def _verdict(report: Report, pairs: list[Pair]) -> Element:
    comparison = report.comparison
    tone = "good" if comparison.holds else "bad"
    made = section("verdict", _verdict_in_words(report))
    made.set("class", f"verdict {tone}")
    counts = Counter(pair.finding.verdict for pair in pairs)
    items = [element("li", None, f"{count} ", badge(verdict)) for verdict, count in counts.items()]
    if comparison.tolerance is not None:
        items.append(element("li", None, f"Tolerance: {comparison.tolerance.in_words()}"))
    if items:
        made.append(element("ul", {"class": "counts"}, *items))
    before, after = report.before, report.after
    known = before.run.circumstances.changes(after.run.circumstances)
    # The table of both sides already shows these changes.
    said = [change for change in comparison.changes if change not in known]
    notes = [*comparison.notes, *said]
    for side in (before, after):
        notes += [f"{side.title} warns: {warning}" for warning in _warnings(side)]
    if notes:
        made.append(element("ul", {"class": "notes"}, *elements("li", notes)))
    return made


def _verdict_in_words(report: Report) -> str:
    findings = report.comparison.findings
    count = len(findings)
    wrong = sum(not finding.holds for finding in findings)
    if not findings:
        return "There are no outputs to compare"
    if wrong:
        verb = "differs" if wrong == 1 else "differ"
        return "The output differs" if count == 1 else f"{wrong} of {count} outputs {verb}"
    if any(finding.verdict == "within tolerance" for finding in findings):
        return "No output differs by more than is accepted"
    if count == 1:
        return "The output is the same"
    return "Both outputs are the same" if count == 2 else f"All {count} outputs are the same"


def _warnings(side: ShownRun) -> list[str]:
    warnings = (side.result or {}).get("warnings")
    return [str(each) for each in warnings] if isinstance(warnings, list) else []


def _sides(report: Report) -> Element:
    before, after = (side.run.circumstances for side in (report.before, report.after))
    rows = {
        "Version": (before.version_id, after.version_id),
        "ComfyUI": (before.comfyui, after.comfyui),
        "Lock": (before.lock, after.lock),
        "Device": (before.device.name, after.device.name),
        "Platform": (before.device.platform, after.device.platform),
        "Driver": (before.device.driver, after.device.driver),
        "Processor": (before.device.processor, after.device.processor),
    }
    head = element("tr", None, element("td"))
    for side in (report.before, report.after):
        head.append(element("th", {"scope": "col"}, side.title))
    table = element("table", {"class": "sides"}, element("thead", None, head))
    body = element("tbody")
    for name, values in rows.items():
        if values == (None, None):
            continue
        row = element("tr", None, element("th", {"scope": "row"}, name))
        if values[0] != values[1]:
            row.set("class", "changed")
        row.extend(element("td", None, shortened(each) if each else "unknown") for each in values)
        body.append(row)
    table.append(body)
    return section("sides", "The two runs", table)


def _graph(report: Report, pairs: list[Pair]) -> Element:
    made = section("graph", "Graph")
    if report.graph.is_empty:
        made.append(element("p", {"class": "quiet"}, "The workflow has no nodes."))
        return made
    differing = {pair.finding.output.node for pair in pairs if not pair.is_quiet}
    drawn = drawing(
        report.graph,
        differing=differing,
        replaced={each.node for each in report.replaced},
        links={pair.finding.output.node: f"#{pair.identity}" for pair in reversed(pairs)},
    )
    keys = {
        "differs": "Its output differs",
        "part": "Took part in it",
        "same": "Took no part in it",
    }
    legend = [element("li", {"class": f"key {name}"}, text) for name, text in keys.items()]
    if not differing:
        legend = elements("li", ["No output differs."])
    zoom = element("div", {"class": "zoom", "hidden": "hidden"})
    for name, label in (("–", "Smaller"), ("+", "Larger"), ("Fit", "Fit the width")):
        zoom.append(element("button", {"type": "button", "aria-label": label}, name))
    box = {
        "class": "graph",
        "tabindex": "0",
        "role": "region",
        "aria-label": "Drawing of the graph",
    }
    made.append(element("div", {"class": "tools"}, element("ul", {"class": "keys"}, *legend), zoom))
    made.append(element("div", box, drawn))
    return made
