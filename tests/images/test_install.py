"""The layer of a node's install.py, as a shell runs it, without the program around it."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.images.conftest import EPOCH, Bench
from tests.program import write_program

# Each test makes an environment or a home, or starts a worker.
pytestmark = pytest.mark.slow

VARIABLES = {"NODE_NAME": "painter"}


@pytest.fixture
def install_bench(bench: Bench) -> Bench:
    """A home with a core and the node `painter`, and an environment that may be written to: it has
    `torch` 1.0, and `alpha` 1.0 with its bytecode."""
    from uv import find_uv_bin

    venv = bench.folder / "venv"
    subprocess.run([find_uv_bin(), "venv", "--quiet", "--no-project", str(venv)], check=True)
    own = dataclasses.replace(bench, venv=venv)
    for name in ("torch", "alpha"):
        (_library(own) / f"{name}.py").write_text("VERSION = 1\n")
        info = _library(own) / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "RECORD").write_text(f"{name}.py,,\n{name}-1.0.dist-info/METADATA,,\n")
    own.give({"tree/main.py": "print('core')\n"})
    own.run("core")
    own.give({"torch.txt": "torch==1.0\n"})
    _script(own, "")
    return own


def _library(bench: Bench) -> Path:
    (library,) = bench.venv.glob("lib/python3.*/site-packages")
    return library


def _script(bench: Bench, source: str) -> Path:
    node = bench.core / "custom_nodes/painter"
    node.mkdir(parents=True, exist_ok=True)
    (node / "install.py").write_text(source)
    return node


def _record(bench: Bench) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((bench.home / ".comfy_install/painter.json").read_text())
    return record


def test_what_a_script_writes_is_recorded_compiled_and_settled(install_bench: Bench) -> None:
    node = _script(
        install_bench,
        "import os, pathlib\n"
        "pathlib.Path('extra.py').write_text('A = 1\\n')\n"
        "pathlib.Path(os.environ['COMFYUI_PATH'], 'web').mkdir()\n"
        "pathlib.Path(os.environ['COMFYUI_PATH'], 'web/page.js').write_text('page')\n",
    )
    install_bench.run("install", VARIABLES)
    record = _record(install_bench)
    assert [file["path"] for file in record["files"]["node"]] == ["extra.py"]
    assert [file["path"] for file in record["files"]["home"]] == ["ComfyUI/web/page.js"]
    (bytecode,) = (node / "__pycache__").glob("extra.*.pyc")
    assert int.from_bytes(bytecode.read_bytes()[4:8], "little") == 1
    paths = [node, *node.rglob("*"), install_bench.core, *(install_bench.core / "web").rglob("*")]
    assert {int(path.lstat().st_mtime) for path in paths} == {EPOCH}


def test_bytecode_of_a_patched_source_is_made_again(install_bench: Bench) -> None:
    install_bench.run("install", VARIABLES)
    (bytecode,) = _library(install_bench).glob("__pycache__/alpha.*.pyc")
    before = bytecode.read_bytes()
    _script(install_bench, "import alpha; open(alpha.__file__, 'w').write('VERSION = 2\\n')")
    install_bench.run("install", VARIABLES)
    assert bytecode.read_bytes() != before
    command = [str(install_bench.venv / "bin/python"), "-c", "import alpha; print(alpha.VERSION)"]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"2\n"


def test_a_script_that_touches_torch_fails_and_says_so(install_bench: Bench) -> None:
    _script(install_bench, "import torch; open(torch.__file__, 'w').write('VERSION = 2\\n')")
    outcome = install_bench.attempt("install", VARIABLES)
    assert outcome.returncode == 1
    assert "install.py of painter changed the torch group: torch (" in outcome.stdout
    assert _record(install_bench)["torch_touched"]


def test_a_family_member_of_torch_that_was_not_there_counts_as_torch(install_bench: Bench) -> None:
    _script(
        install_bench,
        "import pathlib, torch\n"
        "info = pathlib.Path(torch.__file__).parent / 'torchaudio-2.0.dist-info'\n"
        "info.mkdir()\n"
        "(info / 'METADATA').write_text('Name: torchaudio\\nVersion: 2.0\\n')\n"
        "(info / 'RECORD').write_text('')\n",
    )
    outcome = install_bench.attempt("install", VARIABLES)
    assert "torchaudio (not there → 2.0)" in outcome.stdout


def test_a_script_that_fails_is_recorded_too(install_bench: Bench) -> None:
    _script(install_bench, "import sys; open('half', 'w'); sys.exit(7)")
    assert install_bench.attempt("install", VARIABLES).returncode == 1
    record = _record(install_bench)
    assert record["exit_code"] == 7
    assert [file["path"] for file in record["files"]["node"]] == ["half"]


def test_a_time_limit_that_is_not_a_number_is_reported(install_bench: Bench) -> None:
    outcome = install_bench.attempt("install", {**VARIABLES, "COMFY_INSTALL_TIMEOUT_S": "soon"})
    assert outcome.returncode == 1
    assert outcome.stderr.strip() == (
        "COMFY_INSTALL_TIMEOUT_S is 'soon', which is not a number of seconds."
    )


def test_nothing_that_a_script_started_outlives_it(install_bench: Bench) -> None:
    _script(
        install_bench,
        "import pathlib, subprocess\n"
        "started = subprocess.Popen(['sleep', '600'])\n"
        "pathlib.Path('pid').write_text(str(started.pid))\n",
    )
    install_bench.run("install", VARIABLES)
    pid = int((install_bench.core / "custom_nodes/painter/pid").read_text())
    assert not _is_running(pid)


def _is_running(pid: int) -> bool:
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return state.stdout.strip()[:1] not in ("", "Z")


def test_a_node_without_a_script_is_named(install_bench: Bench) -> None:
    (install_bench.core / "custom_nodes/painter/install.py").unlink()
    outcome = install_bench.attempt("install", VARIABLES)
    assert outcome.returncode == 2
    assert "painter has no install.py" in outcome.stderr


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs Linux and root")
def test_offline_the_network_is_taken_away_from_the_script(install_bench: Bench) -> None:
    _script(
        install_bench,
        "import pathlib, socket\n"
        "pathlib.Path('interfaces').write_text(' '.join(n for _, n in socket.if_nameindex()))\n",
    )
    install_bench.run("install", {**VARIABLES, "OFFLINE": "1"})
    assert _record(install_bench)["network"] == "none"
    assert (install_bench.core / "custom_nodes/painter/interfaces").read_text() == "lo"


def test_where_the_network_cannot_be_taken_away_variables_refuse_it(install_bench: Bench) -> None:
    tools = install_bench.folder / "tools"
    write_program(tools / "unshare", "exit 1\n")
    poor = dataclasses.replace(install_bench, path=f"{tools}:{install_bench.path}")
    _script(
        poor,
        "import os, urllib.request\n"
        "try:\n"
        "    urllib.request.urlopen('http://pypi.example/simple')\n"
        "except OSError as error:\n"
        "    open('refused', 'w').write(str(error) + os.environ['PIP_NO_INDEX'])\n",
    )
    poor.run("install", {**VARIABLES, "OFFLINE": "1"})
    assert _record(poor)["network"] == "refused by variables"
    refused = (poor.core / "custom_nodes/painter/refused").read_text()
    assert "refused" in refused
    assert refused.endswith("1")
