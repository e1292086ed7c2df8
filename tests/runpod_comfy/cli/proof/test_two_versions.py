"""`diff --run` on a real engine: two versions of which one shows other pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.graphs import node, saving, write_graph
from tests.media_files import noise, picture, with_one_step
from tests.painted_version import PaintedVersion
from tests.program import Outcome

# They resolve packages.
pytestmark = pytest.mark.slow

PICTURE = picture(noise())
NEAR = picture(with_one_step(noise()))


@pytest.fixture(scope="module")
def other(painted: PaintedVersion) -> PaintedVersion:
    """The version `other` of the same project, neither resolved nor realized, whose node takes one
    of two names.
    """
    versions = painted.project / "versions"
    code = (versions / "Painter" / "__init__.py").read_text()
    (versions / "other" / "Painter").mkdir(parents=True)
    changed = code.replace('["STRING", {}]', '[["x.png", "y.png"]]')
    assert changed != code
    (versions / "other" / "Painter" / "__init__.py").write_text(changed)
    spec = json.loads((versions / "demo.json").read_text()) | {"version_id": "other"}
    spec["custom_nodes"] = [{"name": "Painter", "repo": "other/Painter"}]
    (versions / "other.json").write_text(json.dumps(spec))
    home = painted.home.with_name("other")
    return PaintedVersion(project=painted.project, home=home, program=painted.program)


def diff(
    painted: PaintedVersion, other: PaintedVersion, workflow: Path, *options: str | Path
) -> Outcome:
    return painted.program(
        *("diff", "--run", "demo", "other", "--workflow", workflow),
        *("--target-a", painted.home, "--target-b", other.home),
        *options,
    )


def test_both_versions_run_and_are_compared(
    painted: PaintedVersion, other: PaintedVersion, tmp_path: Path
) -> None:
    workflow = painted.workflow("upgraded")
    for version in (painted, other):
        version.paint(PICTURE)
    done = diff(painted, other, workflow, "--json")
    document = done.document()
    (output,) = document["outputs"]
    assert (document["holds"], output["verdict"]) == (True, "equal")
    results = document["results"]
    assert [results[side]["version"]["id"] for side in ("before", "after")] == ["demo", "other"]
    assert results["before"]["images"][0]["path"] != results["after"]["images"][0]["path"]
    versions = document["versions"]
    assert (versions["form"], versions["equal"]) == ("lock", False)
    assert versions["after"]["version_id"] == "other"
    assert {change["name"] for change in versions["changes"]} == {"Painter"}
    (replaced,) = document["replaced"]
    assert replaced == {
        "node": "1",
        "class_type": "Paint",
        "sentence": 'Input name: its type was "STRING", and is "COMBO".',
    }
    assert "No output of other differs from demo: 1 output: 1 equal" in done.err

    other.paint(NEAR)
    page = tmp_path / "reports" / "r.html"
    done = diff(painted, other, workflow, "--report", page)
    told = done.failed_with(4)
    assert "the outputs of other differ from those of demo:\n  Image 1 of node 1" in told
    lines = done.out.splitlines()
    assert lines[0].startswith("different  Image 1 of node 1 (x.png): max 1 of 255")
    assert "demo → other" in lines
    assert '  1 Paint: Input name: its type was "STRING", and is "COMBO".' in lines
    written = page.read_text()
    assert "upgraded.json on demo and other" in written

    done = diff(painted, other, workflow, "--tolerance", "max=1")
    assert (done.code, "Accepted with the tolerance max=1" in done.err) == (0, True)


def test_a_run_that_fails_names_its_version(painted: PaintedVersion, other: PaintedVersion) -> None:
    workflow = painted.workflow("failing", "y.png")
    painted.paint(PICTURE, "y.png")
    (other.home / "input" / "y.png").unlink(missing_ok=True)
    done = diff(painted, other, workflow, "--json")
    assert "\nerror: other: " in done.failed_with(1)
    assert json.loads(done.out)["error"].startswith("other: ")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("demo", "lockfiles/comfy-demo.lock.json"),
        ("versions/demo.json", "versions/demo.json"),
    ],
)
def test_a_version_is_compared_with_itself(
    painted: PaintedVersion, before: str, after: str
) -> None:
    painted.paint(PICTURE)
    done = painted.program(
        *("diff", "--run", before, after, "--workflow", painted.workflow("again"), "--json"),
        *("--target-a", painted.home, "--target-b", painted.home),
    )
    document = done.document()
    assert (document["holds"], document["replaced"]) == (True, [])
    assert (document["versions"]["form"], document["versions"]["equal"]) == ("lock", True)


def test_a_version_that_differs_from_itself_names_the_node(painted: PaintedVersion) -> None:
    graph = {
        "1": node("FixtureText", text="x"),
        "2": node("Dice"),
        "3": saving(["2", 0], prefix=["1", 0]),
    }
    workflow = write_graph(painted.project / "random.json", graph)
    done = painted.program("diff", "--run", "demo", "demo", "--workflow", workflow)
    assert "1 of node 3: different" in done.failed_with(4)
    first = "Node 2 (Dice) is the first whose output differs between two runs of this version."
    assert f"Note: {first}" in done.err
