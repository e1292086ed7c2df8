"""What differs between two versions, part by part."""

from __future__ import annotations

from comfy_workflows.report.changes import changes_section
from comfy_workflows.report.elements import Element
from comfy_workflows.report.parts import Replaced, ShownChange
from tests.comfy_workflows.compare.runs import result
from tests.comfy_workflows.report.two_runs import changes, small_report


def _groups(section: Element) -> dict[str, Element]:
    return {group.findtext("summary/h3") or "": group for group in section.iter("details")}


def _rows(group: Element) -> list[list[str]]:
    return [["".join(cell.itertext()) for cell in row] for row in group.find("table/tbody") or ()]


def test_changes_are_grouped_and_long_groups_are_closed() -> None:
    groups = _groups(changes_section(small_report(changes=changes())))
    assert list(groups) == ["ComfyUI", "Custom nodes", "Python packages", "Models", "Settings"]
    closed = [name for name, group in groups.items() if group.get("open") is None]
    assert closed == ["Python packages"]
    assert groups["Python packages"].findtext("summary/span") == "27 changes"


def test_a_change_has_both_values_and_long_hashes_are_short() -> None:
    report = small_report(
        changes=[
            ShownChange(part="core", name="ComfyUI", key="commit", before="a" * 40, after="b" * 40),
            ShownChange(part="core", name="x", before=None, after="1"),
            ShownChange(part="core", name="y", before="1", after=None),
        ]
    )
    section = changes_section(report)
    assert _rows(_groups(section)["ComfyUI"]) == [
        ["ComfyUIcommit", "aaaaaaaaaaaa…", "bbbbbbbbbbbb…"],
        ["x", "not there", "1"],
        ["y", "1", "removed"],
    ]
    assert "a" * 40 in [each.get("title") for each in section.iter("code")]


def test_nodes_that_were_replaced_come_first() -> None:
    replaced = [Replaced(node="3", class_type="KSampler", sentence="Its code changed.")]
    section = changes_section(small_report(changes=changes(), replaced=replaced))
    assert section[1].text == "Nodes of this workflow that were replaced"
    assert "".join(section[2].itertext()) == "KSampler 3 Its code changed."


def test_models_of_the_workflow_that_are_others_now_are_named() -> None:
    before, after = (
        result(text="x", models=[{"path": "a", "sha256": "1"}, {"path": "b", "sha256": digest}])
        for digest in ("2", None)
    )
    groups = _groups(changes_section(small_report(before, after)))
    assert _rows(groups["Models that the workflow uses"]) == [["b", "2", "not verified"]]
    known = [ShownChange(part="model", name="b", key="sha256", before="2", after="3")]
    groups = _groups(changes_section(small_report(before, after, changes=known)))
    assert list(groups) == ["Models"]


def test_without_changes_there_is_a_sentence() -> None:
    said = "".join(changes_section(small_report()).itertext())
    assert "Nothing else is known to differ." in said
