from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rp_handler.engine.import_faults import import_faults
from rp_handler.engine.imports import hook_variables, read_report

_LOAD = """
import importlib.util, sys
for path in sys.argv[1:]:
    spec = importlib.util.spec_from_file_location(path.replace(".", "_x_"), path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception:
        pass
"""


class Python:
    """A Python with the hook, beside a core in the folder `core`."""

    def __init__(self, folder: Path) -> None:
        self.core = folder / "core"
        self.nodes = self.core / "custom_nodes"
        self.nodes.mkdir(parents=True)
        self.report = folder / "report.jsonl"
        self.report.touch()

    def node(self, path: str, text: str) -> str:
        file = self.nodes / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        return str(file)

    def run(self, *arguments: str, **variables: str) -> str:
        environment = {"PATH": os.defpath, **variables}
        environment |= hook_variables(environment, core=self.core, report=self.report)
        done = subprocess.run(
            [sys.executable, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            cwd=self.core,
        )
        assert done.stderr == ""
        return done.stdout


@pytest.fixture
def python(tmp_path: Path) -> Python:
    return Python(tmp_path)


def test_events_come_in_order_with_what_a_module_brings(python: Python) -> None:
    files = [
        python.node("a/__init__.py", "NODE_CLASS_MAPPINGS = {'B': 1, 'A': 2}\n"),
        python.node("single.py", "NODE_CLASS_MAPPINGS = {}\n"),
        python.node("a/inner.py", ""),
        python.node("bad/__init__.py", "import inner_of_bad\n"),
    ]
    python.run("-c", _LOAD, *files)
    report = read_report(python.report)
    assert report.is_observed
    told = [(event.event, event.name, event.stage, event.classes) for event in report.events]
    assert told == [
        ("began", "a", "import", None),
        ("finished", "a", "import", ["A", "B"]),
        ("began", "single.py", "import", None),
        ("finished", "single.py", "import", []),
        ("began", "bad", "import", None),
        ("raised", "bad", "import", None),
    ]
    raised = report.events[-1]
    assert raised.chain[0].type == "ModuleNotFoundError"
    assert raised.chain[0].module == "inner_of_bad"
    assert raised.place is not None
    assert (raised.place.file, raised.place.line) == (files[-1], 1)
    assert raised.traceback.splitlines()[-1].startswith("ModuleNotFoundError: ")


def test_an_exception_comes_with_its_causes_and_the_file_of_the_system(python: Python) -> None:
    text = (
        "try:\n    open('/no/such')\nexcept OSError as error:\n    raise RuntimeError from error\n"
    )
    python.run("-c", _LOAD, python.node("a/__init__.py", text))
    first, cause = read_report(python.report).events[-1].chain
    assert (first.type, first.in_words) == ("RuntimeError", "RuntimeError")
    assert (cause.type, cause.errno, cause.filename) == ("FileNotFoundError", 2, "/no/such")


def test_a_node_that_another_node_executes_is_not_one_that_the_core_executed(
    python: Python,
) -> None:
    python.node("b/__init__.py", "raise OSError\n")
    text = "import sys\nsys.path.insert(0, 'custom_nodes')\ntry: import b\nexcept OSError: pass\n"
    python.run("-c", _LOAD, python.node("a/__init__.py", text))
    events = read_report(python.report).events
    assert [(event.name, event.by_core) for event in events if event.event != "began"] == [
        ("b", False),
        ("a", True),
    ]


def test_a_core_below_a_link_and_its_own_modules_are_observed(
    python: Python, tmp_path: Path
) -> None:
    # The core finds its nodes from the real path of its own files.
    node = python.node("a/__init__.py", "")
    extras = python.core / "comfy_extras"
    extras.mkdir()
    files = [extras / name for name in ("nodes_x.py", "helper.py")]
    for file in files:
        file.write_text("1 / 0\n")
    link = tmp_path / "link"
    link.symlink_to(python.core)
    python.core = link
    python.run("-c", _LOAD, node, *map(str, files))
    events = read_report(python.report).events
    told = [(event.event, event.group, event.name) for event in events if event.event != "began"]
    assert told == [("finished", "custom_nodes", "a"), ("raised", "comfy_extras", "nodes_x.py")]
    (fault,) = (
        each
        for each in import_faults(read_report(python.report), core=link, nodes=["a"])
        if not each.is_custom
    )
    assert fault.sentence == (
        "comfy_extras/nodes_x.py failed to import: comfy_extras/nodes_x.py, line 1: "
        "ZeroDivisionError: division by zero"
    )


def test_a_file_of_the_engines_own_is_left_as_a_plain_python_finds_it(python: Python) -> None:
    program = "import sys, os; print(sys.path, os.environ.get('PYTHONPATH'), sorted(os.environ))"
    usual = subprocess.run(
        [sys.executable, "-c", program],
        env={"PATH": os.defpath, "PYTHONPATH": "/mine"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert python.run("-c", program, PYTHONPATH="/mine") == usual.stdout
    assert python.run("-c", "import os; print(os.environ.get('PYTHONPATH'))") == "None\n"


def test_a_node_that_is_left_out_fails_instead_of_being_executed(python: Python) -> None:
    file = python.node("a/__init__.py", "raise SystemExit\n")
    script = python.node("a/prestartup_script.py", "raise SystemExit\n")
    setting = hook_variables({}, core=python.core, report=python.report, left_out=["a"])
    subprocess.run([sys.executable, "-c", _LOAD, script, file], env=setting, check=True)
    told = [event.chain[0].type for event in read_report(python.report).events if event.chain]
    assert told == ["ImportError", "ImportError"]


def test_another_sitecustomize_runs_as_it_would_without_the_hook(
    python: Python, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "sitecustomize.py").write_text("print('from', __file__)\n")
    program = "import sitecustomize; print(sitecustomize.__file__)"
    told = python.run("-c", program, PYTHONPATH=str(other))
    file = other / "sitecustomize.py"
    assert told == f"from {file}\n{file}\n"


def test_a_python_without_the_setting_observes_nothing(python: Python) -> None:
    file = python.node("a/__init__.py", "")
    program = (
        "import os, subprocess, sys\n"
        "subprocess.run([sys.executable, '-c', *sys.argv[1:]], check=True)\n"
    )
    python.run("-c", program, _LOAD, file)
    assert read_report(python.report).events == []


def test_lines_that_the_hook_did_not_write_are_skipped(tmp_path: Path) -> None:
    report = tmp_path / "report.jsonl"
    event: dict[str, object] = {"event": "began", "group": "custom_nodes", "name": "a"}
    event |= {"stage": "import", "file": "custom_nodes/a/__init__.py", "number": 1}
    event |= {"by_core": True}
    lines = ['{"event": "start"}', "{", '{"event": "began"}', "\udcff", json.dumps(event)]
    report.write_text("\n".join(lines), errors="surrogateescape")
    told = read_report(report)
    assert told.is_observed
    assert [event.name for event in told.events] == ["a"]
    assert told.last_executed == told.events[0]
    assert not read_report(tmp_path / "absent").is_observed
