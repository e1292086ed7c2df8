from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from comfy_home.in_use import home_alone
from comfy_home.layout import LOCK_NAME, OBJECT_INFO_NAME
from comfy_home.manifest import CheckReport, ManifestNode, load_manifest, save_manifest
from rp_handler.check.run import main
from tests.program import our_modules


def run_check(home: Path, report: Path) -> int:
    python = home / ".venv/bin/python"
    return main(["--home", str(home), "--python", str(python), "--report", str(report)])


def add_node(home: Path, name: str, text: str) -> None:
    folder = home / "ComfyUI/custom_nodes" / name
    folder.mkdir()
    (folder / "__init__.py").write_text(text, encoding="utf-8")


def test_the_report_tells_what_one_start_taught(home: Path, tmp_path: Path) -> None:
    add_node(
        home,
        "mine",
        "import fixture_nodes\nNODE_CLASS_MAPPINGS = {'Mine': fixture_nodes.FixtureText}\n",
    )
    (home / "models/upscale_models/x2.pth").touch()
    report = tmp_path / "report.json"
    assert run_check(home, report) == 0
    told = CheckReport.model_validate_json(report.read_text(encoding="utf-8"))
    assert told.comfyui_version == "0.0.1"
    assert told.node_classes == {"mine": ["Mine"]}
    assert told.folder_names == {
        "checkpoints": ["checkpoints"],
        "text_encoders": ["text_encoders", "clip"],
        "upscale_models": ["upscale_models"],
    }
    assert told.model_inputs == {"FixtureLoader": {"model_name": ["upscale_models"]}}
    assert "--temp-directory" in told.flags
    object_info = json.loads((home / OBJECT_INFO_NAME).read_text(encoding="utf-8"))
    assert object_info["Mine"]["python_module"] == "custom_nodes.mine"
    # What lies in the models folder today is not a fact about the version.
    assert object_info["FixtureLoader"]["input"]["required"]["model_name"][0] == ["built in"]


def locked(home: Path, *names: str) -> None:
    """Makes these the nodes of the version."""
    manifest = load_manifest(home)
    assert manifest is not None
    nodes = [ManifestNode(name=name, repo="https://example.org/a") for name in names]
    save_manifest(home, manifest.model_copy(update={"nodes": nodes}))


FAILING = {
    "broken": ("import no_such_module\n", "line 1: ModuleNotFoundError: No module named"),
    "careless": (
        "import logging\nlogging.getLogger().setLevel(logging.CRITICAL)\n1 / 0\n",
        "line 3: ZeroDivisionError: division by zero",
    ),
    "formatting": (
        "import logging\n"
        "logging.getLogger().handlers[0].setFormatter(logging.Formatter('>> %(message)s'))\n"
        "raise RuntimeError('one\\ntwo')\n",
        "line 3: RuntimeError: one two",
    ),
    "hushing": ("import io, sys\nsys.stderr = io.StringIO()\n{}['KEY']\n", "KeyError: 'KEY'"),
    "misspelt": ("def f(:\n", "line 1: SyntaxError: "),
    "deep": (
        "import json\njson.loads('{')\n",
        "custom_nodes/deep/__init__.py, line 2: JSONDecodeError: ",
    ),
}


def test_nodes_that_do_not_import_are_named_with_file_line_and_exception_whatever_is_logged(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, (text, _) in FAILING.items():
        add_node(home, name, text)
    locked(home, *FAILING)
    monkeypatch.setenv("FIXTURE_LOG_FORMAT", "[%(levelname)s] %(message)s")
    report = tmp_path / "report.json"
    assert run_check(home, report) == 1
    told = capsys.readouterr().err.splitlines()
    for name, (_, words) in FAILING.items():
        beginning = f"  the custom node {name} failed to import: custom_nodes/{name}/__init__.py, "
        (line,) = (line for line in told if line.startswith(beginning))
        assert words in line
        assert told[told.index(line) + 1].startswith("    → ")
    # Before it come all tracebacks, also of nodes that keep ComfyUI from logging them.
    before = told[: told.index("error: ComfyUI starts, but 6 nodes fail:")]
    for name in FAILING:
        traced = f'  File "{home}/ComfyUI/custom_nodes/{name}/__init__.py", line '
        assert any(line.startswith(traced) for line in before)
    assert not report.exists()
    assert not (home / OBJECT_INFO_NAME).exists()


_ENTRYPOINT = """
class Extension:
    async def get_node_list(self):
        {body}
{kind} comfy_entrypoint():
    return {value}
"""
_FINE = _ENTRYPOINT.format(body="return []", kind="async def", value="Extension()")


def test_what_a_node_brings_is_seen_in_its_module(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def entrypoint(body: str, value: str = "Extension()", kind: str = "def") -> str:
        return _ENTRYPOINT.format(body=body, kind=kind, value=value)

    nodes = {
        "hollow": "x = 1\n",
        "early": "NODE_CLASS_MAPPINGS = {}\n",
        "no_list": entrypoint("raise OSError(30, 'Read-only file system', '/x')"),
        "no_extension": entrypoint("return []", value="3"),
        "no_entry": entrypoint("return []", value="1 / 0", kind="async def"),
        "only_web": "WEB_DIRECTORY = './js'\n",
        "no_web": "WEB_DIRECTORY = './js'\n",
        "new_web": "",
        "new": _FINE,
        "plain": entrypoint("return []"),
    }
    for name, text in nodes.items():
        add_node(home, name, text)
    folder = home / "ComfyUI/custom_nodes"
    (folder / "early/prestartup_script.py").write_text("raise ValueError('too early')\n")
    (folder / "new_web/pyproject.toml").write_text('[tool.comfy]\nweb = "js"\n')
    for name in ("new_web", "only_web"):
        (folder / name / "js").mkdir()
    locked(home, *nodes, "absent")
    assert run_check(home, tmp_path / "report.json") == 1
    lines = capsys.readouterr().err.splitlines()
    told = [line for line in lines if line.startswith("  the custom node ")]
    wanted = {
        "absent": "was never executed by ComfyUI",
        "early": "failed in its prestartup_script.py: custom_nodes/early/prestartup_script.py, "
        "line 1: ValueError: too early",
        "hollow": "has neither nodes nor web files (",
        "no_entry": "failed in its comfy_entrypoint: custom_nodes/no_entry/__init__.py, line 6: ",
        "no_extension": "failed in its comfy_entrypoint: TypeError: it returned int, not a Comfy",
        "no_list": "failed in its comfy_entrypoint: custom_nodes/no_list/__init__.py, line 4: OSE",
        "no_web": "has neither nodes nor web files (",
    }
    assert len(told) == len(wanted)
    for line, (name, words) in zip(told, wanted.items(), strict=True):
        assert line.startswith(f"  the custom node {name} {words}")


def test_a_node_may_fail_where_the_machine_lacks_what_it_needs(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    add_node(home, "keyed", "import os\nKEY = os.environ['SOME_KEY']\n")
    add_node(home, "painter", "raise RuntimeError(f'no GPU for {object()}')\n")
    add_node(home, "fine", "NODE_CLASS_MAPPINGS = {}\n")
    locked(home, "keyed", "painter", "fine")
    manifest = load_manifest(home)
    assert manifest is not None
    needs = {"keyed": ["env:SOME_KEY"], "painter": ["gpu"], "fine": ["gpu"]}
    save_manifest(home, manifest.model_copy(update={"import_needs": needs}))
    report = tmp_path / "report.json"
    assert run_check(home, report) == 0
    told = CheckReport.model_validate_json(report.read_text(encoding="utf-8"))
    assert told.unmet_needs == ["env:SOME_KEY", "gpu"]
    assert told.not_imported["painter"].reason == (
        "failed to import: custom_nodes/painter/__init__.py, line 1: "
        "RuntimeError: no GPU for <object object at 0x…>"
    )
    assert told.not_imported.keys() == {"keyed", "painter"}
    assert (
        told.not_imported["keyed"]
        .in_words("keyed")
        .startswith(
            "the custom node keyed was not imported, because it needs the variable SOME_KEY, which"
        )
    )
    # Where the machine has it, the node has no excuse; without one, the excuse is offered.
    monkeypatch.setenv("SOME_KEY", "x")
    (home / "ComfyUI/custom_nodes/keyed/__init__.py").write_text("raise ValueError('bad key')\n")
    assert run_check(home, report) == 1
    assert "ValueError: bad key" in capsys.readouterr().err.splitlines()[-2]


def test_the_log_of_a_healthy_engine_may_say_anything(home: Path, tmp_path: Path) -> None:
    text = (
        "import sys\nprint('   0.1 seconds (IMPORT FAILED): /x/custom_nodes/liar', file=sys.stderr)"
    )
    add_node(home, "liar", f"{text}\nNODE_CLASS_MAPPINGS = {{}}\n")
    assert run_check(home, tmp_path / "report.json") == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("import os\nos._exit(7)\n", "ended with status 7", id="os._exit"),
        pytest.param("import sys\nsys.exit('no key')\n", "ended with status 1", id="sys.exit"),
        pytest.param(
            "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n",
            "was killed by signal 9",
            id="killed",
        ),
        pytest.param("raise KeyboardInterrupt\n", "KeyboardInterrupt)", id="interrupted"),
        pytest.param(
            "class Enough(BaseException): ...\nraise Enough('of it')\n",
            "__init__.py: Enough: of it)",
            id="BaseException",
        ),
    ],
)
def test_the_node_whose_code_ends_the_engine_is_named(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    add_node(home, "fine", "NODE_CLASS_MAPPINGS = {}\n")
    add_node(home, "quitter", text)
    assert run_check(home, tmp_path / "report.json") == 1
    told = capsys.readouterr().err
    assert words in told
    assert "while it executed the custom node quitter (custom_nodes/quitter/__init__.py" in told
    assert ("__init__.py: SystemExit: no key)" in told) == ("sys.exit" in text)
    assert "is not part of this version: added by hand" in told
    assert "The whole log is" not in told
    assert list(Path(tempfile.gettempdir()).iterdir()) == []


def test_an_engine_that_cannot_be_observed_is_an_error(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    python = home / ".venv/bin/python"
    python.write_text(python.read_text().replace("${PYTHONPATH:+$PYTHONPATH:}", ""))
    assert run_check(home, tmp_path / "report.json") == 3
    assert "does not import sitecustomize" in capsys.readouterr().err


def test_a_node_that_breaks_the_answer_about_nodes_is_an_error(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_node(
        home,
        "untellable",
        "import fixture_nodes\n"
        "class Untellable(fixture_nodes.FixtureText):\n"
        "    required = {'content': object()}\n"
        "NODE_CLASS_MAPPINGS = {'Untellable': Untellable}\n",
    )
    report = tmp_path / "report.json"
    assert run_check(home, report) == 1
    assert "does not list its node classes" in capsys.readouterr().err
    assert not report.exists()


def test_a_core_that_does_not_start_is_quoted(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FIXTURE_DIE_AT_START", "no such library")
    assert run_check(home, tmp_path / "report.json") == 3
    assert "no such library" in capsys.readouterr().err


def test_a_core_that_cannot_even_tell_its_options_is_quoted(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "ComfyUI/main.py").write_text("import no_such_module\n", encoding="utf-8")
    assert run_check(home, tmp_path / "report.json") == 3
    assert "No module named 'no_such_module'" in capsys.readouterr().err


def test_a_check_leaves_nothing_but_its_results(home: Path, tmp_path: Path) -> None:
    def files() -> set[Path]:
        return {path for path in home.rglob("*") if "__pycache__" not in path.parts}

    before = files()
    assert run_check(home, tmp_path / "report.json") == 0
    assert files() - before == {home / OBJECT_INFO_NAME}
    assert list(Path(tempfile.gettempdir()).iterdir()) == []


def test_the_engine_of_a_check_holds_the_lock_of_the_command_that_checks(
    home: Path, tmp_path: Path
) -> None:
    """A node asks whether its engine has it."""
    add_node(
        home,
        "asks",
        "import os, sys\n"
        "held = os.environ['THE_LOCK']\n"
        "links = [os.path.realpath(f'/dev/fd/{name}') for name in os.listdir('/dev/fd')]\n"
        "assert held in links, links\n"
        "NODE_CLASS_MAPPINGS = {}\n",
    )
    report = tmp_path / "report.json"
    with home_alone(home, pytest.fail) as descriptor:
        checked = subprocess.run(
            [
                *(sys.executable, "-m", "rp_handler.check.run", "--home", str(home)),
                *("--python", str(home / ".venv/bin/python"), "--report", str(report)),
            ],
            env={**os.environ, **our_modules(), "THE_LOCK": str(home / LOCK_NAME)},
            pass_fds=[descriptor],
            capture_output=True,
            text=True,
            check=False,
        )
    assert checked.returncode == 0, checked.stderr
