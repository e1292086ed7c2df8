"""A version of the fixture core whose pictures a test decides, realized once and run for real."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tests.graphs import node, write_graph
from tests.program import Outcome, Program
from tests.real_packages import held
from tests.specs import FIXTURE_CORE, core_repository

_NODE = """
import os

class Dice:
    required = {}
    output_node = False

    async def run(self, core, node_id, inputs):
        return None, os.urandom(8).hex()

class Paint:
    required = {"name": ["STRING", {}]}
    output_node = True

    async def run(self, core, node_id, inputs):
        name = inputs["name"]
        (core.output / name).write_bytes((core.input / name).read_bytes())
        return {"images": [{"filename": name, "subfolder": "", "type": "output"}]}, None


NODE_CLASS_MAPPINGS = {"Dice": Dice, "Paint": Paint}
"""


@dataclass(frozen=True, kw_only=True)
class PaintedVersion:
    """The version `demo` in `project`: its workflows show what `paint` put there last.

    Its node `Dice` gives another text each time.
    """

    project: Path
    home: Path
    program: Program

    def paint(self, content: bytes, name: str = "x.png") -> None:
        """The bytes of the picture that the next runs show."""
        (self.home / "input").mkdir(parents=True, exist_ok=True)
        (self.home / "input" / name).write_bytes(content)

    def workflow(self, name: str, picture: str = "x.png") -> Path:
        """A new workflow `workflows/<name>.json`, which shows that picture."""
        folder = self.project / "workflows"
        folder.mkdir(exist_ok=True)
        return Path(write_graph(folder / f"{name}.json", {"1": node("Paint", name=picture)}))

    def realize(self) -> None:
        done = self.program("realize", "demo")
        assert done.code == 0, done.err

    def repro(self, workflow: Path, *options: str | Path) -> Outcome:
        return self.program("repro", "demo", "--workflow", workflow, *options)


def painted_version(project: Path, scratch: Path) -> PaintedVersion:
    """Writes the spec of `demo` below `project`; core, cache and home are below `scratch`."""
    folder = project / "versions" / "Painter"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(_NODE)
    core = core_repository(scratch / "core", FIXTURE_CORE, "aiohttp\npyyaml\n")
    spec = {
        "schema_version": 2,
        "version_id": "demo",
        "comfy": core.at(),
        "custom_nodes": [{"name": "Painter", "repo": "Painter"}],
        "options": {"constraints": held()},
    }
    (project / "versions" / "demo.json").write_text(json.dumps(spec))
    home = scratch / "home"
    variables = {"COMFY_HOME": str(home), "COMFY_CACHE_ROOT": str(scratch / "cache")}
    program = Program(folder=project, variables=variables)
    return PaintedVersion(project=project, home=home, program=program)


def as_another_device(path: Path) -> None:
    """Makes the one entry of a baseline that of another device."""
    document = json.loads(path.read_text())
    document["entries"][0]["circumstances"]["device"] |= {"name": "NVIDIA L4", "type": "cuda"}
    path.write_text(json.dumps(document))
