"""The chapter of the user's guide on reproduction, typed as it is printed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.media_files import noise, picture, with_one_step
from tests.painted_version import PaintedVersion, painted_version
from tests.program import our_modules
from tests.scripts.conftest import Project

# It resolves packages.
pytestmark = pytest.mark.slow

DOUBLE_BUILD = """
python3 scripts/version.py resolve "$COMFY_VERSION_NAME"
python3 scripts/version.py realize "$COMFY_VERSION_NAME" --dry-run
python3 scripts/version.py test "$COMFY_VERSION_NAME" --workflow ./workflows/example.json --output base64
"""  # noqa: E501
RECORD = """
python3 scripts/repro_workflow_hash.py \\
  --lock lockfiles/comfy-$COMFY_VERSION_NAME.lock.json \\
  --workflow ./workflows/example.json \\
  --baseline ./workflows/example.baseline.json \\
  --mode record
"""
COMPARE = RECORD.replace("record\n", "compare\n")


@dataclass(frozen=True, kw_only=True)
class Guide:
    """A person at a shell, in the folder of a project with the version `demo`."""

    version: PaintedVersion
    environment: Mapping[str, str]

    def type(self, lines: str) -> tuple[int, str, str]:
        """The exit code of some lines, and what they say on standard output and standard error."""
        done = subprocess.run(
            ["bash", "-ec", lines],
            cwd=self.version.project,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def guide(project: Project, tmp_path: Path) -> Guide:
    project.pretend_made(from_list=project.runtime())
    program = project.root / ".venv/bin/runpod-comfy"
    program.write_text(f"#!/bin/sh\nexec '{sys.executable}' -m runpod_comfy.cli.app \"$@\"\n")
    version = painted_version(project.root, tmp_path)
    version.workflow("example")
    variables = {**version.program.variables, **our_modules(), "COMFY_VERSION_NAME": "demo"}
    return Guide(version=version, environment=variables)


def test_the_chapter_holds_as_it_is_printed(guide: Guide) -> None:
    version = guide.version
    # A person's input is there before the first run; the home is not.
    version.realize()
    version.paint(picture(noise()))
    lock = version.project / "lockfiles" / "comfy-demo.lock.json"
    before = lock.read_bytes()
    code, out, err = guide.type(DOUBLE_BUILD)
    assert code == 0, err
    assert json.loads(out[out.index('{"images"') :])["images"][0]["type"] == "base64"
    assert lock.read_bytes() == before

    code, out, err = guide.type(RECORD)
    assert code == 0, err
    assert out.startswith("recorded 1 output of cpu on ")
    assert (version.project / "workflows/example.baseline.json").is_file()

    code, out, err = guide.type(COMPARE)
    assert (code, out) == (0, "equal  Image 1 of node 1 (x.png)\n"), err
    version.paint(picture(with_one_step(noise())))
    code, out, err = guide.type(COMPARE)
    assert (code, "max 1 of 255" in out) == (4, True), err
