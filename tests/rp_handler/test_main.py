from __future__ import annotations

import base64
import json
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from comfy_home.manifest import Manifest, ManifestNode, load_manifest, save_manifest
from rp_handler.check.run import main as check
from rp_handler.main import main
from tests.graphs import SAVE, SLEEP, node, write_graph
from tests.program import start_python, wait_for

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COMFY_HOME", str(home))


def workflow(document: Any) -> str:
    return write_graph(Path("graph.json"), document)


def start(*arguments: str) -> subprocess.Popen[str]:
    """The command line as a process of its own, which gets signals as one at a terminal does."""
    return start_python(
        "-m", "rp_handler.main", *arguments, stderr=subprocess.PIPE, start_new_session=True
    )


def engines() -> list[int]:
    """The processes whose command line names our temporary folder."""
    mark = tempfile.gettempdir()
    listed = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=", "-o", "args="], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [int(line.split()[0]) for line in listed if mark in line and "comfy-engine" in line]


def wait_until_gone() -> None:
    for _ in range(600):
        if not engines():
            return
    pytest.fail("an engine is left")


def test_outputs_are_files_in_a_new_folder_and_reported_by_path_size_and_hash(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--workflow", workflow(SAVE)]) == 0
    line = capsys.readouterr().out.strip()
    path, size, sha256 = line.split("  ")
    assert Path(path).read_text(encoding="utf-8") == "hello"
    assert size == "5 bytes"
    assert sha256 == "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert Path(path).parent.parent == Path("outputs")
    result = json.loads((Path(path).parent / "result.json").read_text(encoding="utf-8"))
    assert result["files"][0]["path"] == path
    assert result["version"] == {
        "id": "demo",
        "lock": "sha256:" + "0" * 64,
        "image": None,
        "comfyui": "0.0.1",
    }


def test_a_picture_is_reported_with_its_pixels(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "input/p.png").write_bytes(PIXEL)
    entry = {"filename": "p.png", "subfolder": "", "type": "input"}
    show = {"1": {"class_type": "FixtureShow", "inputs": {"ui": {"images": [entry]}}}}
    assert main(["--workflow", workflow(show)]) == 0
    assert "p.png  1x1  sha256:" in capsys.readouterr().out


def test_the_same_workflow_twice_has_the_same_names_and_hashes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = []
    for _ in range(2):
        assert main(["--workflow", workflow(SAVE), "--json"]) == 0
        (file,) = json.loads(capsys.readouterr().out)["files"]
        told.append((file["filename"], file["sha256"]))
    assert told[0] == told[1]


def test_base64_is_one_document_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--workflow", workflow(SAVE), "--output", "base64"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert base64.b64decode(result["files"][0]["data"]) == b"hello"
    outputs = {"images", "files", "text"}
    assert set(result) == {*outputs, "models", "timings", "version", "device", "warnings"}
    assert not Path("outputs").exists()


def test_provenance_is_in_the_result_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--workflow", workflow(SAVE), "--json", "--provenance"]) == 0
    assert json.loads(capsys.readouterr().out)["provenance"]["version"]["id"] == "demo"


def test_the_smoke_test_reports_versions_devices_and_counts(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "models/upscale_models/x2.pth").touch()
    assert main(["--workflow", workflow({}), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["version"]["comfyui"] == "0.0.1"
    assert result["version"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert result["devices"] == [{"name": "cpu", "type": "cpu", "memory_bytes": 2**30}]
    assert result["counts"]["nodes"] > 10
    assert result["counts"]["models"] == 1
    assert main(["--workflow", workflow({})]) == 0
    assert "ComfyUI 0.0.1 (demo), Python" in capsys.readouterr().out


@pytest.mark.parametrize("mode", [None, "gcs", "s3"])
def test_the_smoke_test_needs_no_bucket(mode: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OUTPUT_MODE")
    named = ["--output", mode] if mode else []
    assert main(["--workflow", workflow({}), *named]) == 0
    assert main(["--workflow", workflow(SAVE), *named]) == 2


def test_a_foreign_models_folder_is_seen_by_the_engine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shared models/checkpoints").mkdir(parents=True)
    (tmp_path / "shared models/checkpoints/c.safetensors").touch()
    arguments = ["--workflow", workflow({}), "--json", "--models-dir", "shared models"]
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["models"] == 1


def test_the_environment_of_the_spec_reaches_the_engine(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_manifest(home, Manifest(version_id="demo", complete=True, env={"COLOUR": "teal"}))
    show = {"1": {"class_type": "FixtureEnvironment", "inputs": {"name": "COLOUR"}}}
    assert main(["--workflow", workflow(show)]) == 0
    assert capsys.readouterr().out == "text of node 1: teal\n"


def test_a_checked_home_refuses_a_graph_before_the_engine_starts(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    python = str(home / ".venv/bin/python")
    assert check(["--home", str(home), "--python", python, "--report", str(report)]) == 0
    manifest = load_manifest(home)
    assert manifest is not None
    told = {**manifest.model_dump(), "check": json.loads(report.read_text(encoding="utf-8"))}
    save_manifest(home, Manifest.model_validate(told))
    graph = {
        "1": {"class_type": "FixtureLoader", "inputs": {"model_name": "x9.pth"}},
        "2": {"class_type": "FixtureShow", "inputs": {"ui": ["1", 0]}},
    }
    assert main(["--workflow", workflow(graph)]) == 3
    told_on_screen = capsys.readouterr().err
    assert '"x9.pth" is not in the model folder upscale_models' in told_on_screen
    assert "Starting ComfyUI" not in told_on_screen
    assert main(["--workflow", workflow({"1": {"class_type": "Nope", "inputs": {}}})]) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--workflow", "none.json"], 3, "no workflow at none.json"),
        (["--workflow", "graph.json", "--version-id", "other"], 2, 'not "other"'),
        (["--workflow", "graph.json", "--home", "nowhere"], 3, "no version is realized at"),
        (["--workflow", "graph.json", "--output", "fax"], 2, "Use files, base64, gcs or s3."),
        (["--workflow", "graph.json", "--output", "gcs"], 2, "GCS_BUCKET is not set"),
        (["--workflow", "graph.json", "--output", "s3"], 2, "BUCKET_ENDPOINT_URL"),
        (["--workflow", "graph.json", "--timeout", "0"], 2, "--timeout must be positive"),
        (["--workflow", "graph.json", "--timeout", "nan"], 2, "--timeout must be positive"),
        (["--workflow", "graph.json", "--port", "-1"], 2, "--port must be between 1 and 65535"),
        (["--ui", "--port", "65536"], 2, "--port must be between 1 and 65535"),
        (["--ui", "--workflow", "graph.json"], 2, "--workflow cannot be used with --ui"),
        (["--ui", "--output", "files", "--timeout", "5"], 2, "--output and --timeout cannot be"),
        (["--ui", "--output-dir", "x"], 2, "Leave out --ui, or --output-dir."),
        (["--workflow", "graph.json", "--models-dir", "none"], 3, "no models folder"),
        ([], 2, "--workflow"),
    ],
)
def test_bad_input_gets_a_sentence_and_a_code(
    arguments: list[str], code: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    workflow(SAVE)
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert sentence in captured.err
    assert captured.out == ""
    assert not Path("outputs").exists()


def test_a_port_in_use_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        assert main(["--workflow", workflow(SAVE), "--port", port]) == 3
        assert f"Port {port} on 127.0.0.1 is in use." in capsys.readouterr().err
        assert main(["--ui", "--port", port]) == 3


def test_a_failure_is_a_document_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    document = {"7": {"class_type": "FixtureRaise", "inputs": {"kind": "OSError", "message": "x"}}}
    assert main(["--workflow", workflow(document), "--json"]) == 1
    failure = json.loads(capsys.readouterr().out)
    assert failure["error_type"] == "execution_error"
    assert failure["retryable"] is False
    assert failure["details"]["node"] == "7"
    assert failure["details"]["class_type"] == "FixtureRaise"


def test_a_failed_run_leaves_no_outputs_behind() -> None:
    document = {**SAVE, "2": node("FixtureExit", status=1)}
    assert main(["--workflow", workflow(document)]) == 1
    assert not Path("outputs").exists()


def test_outputs_that_cannot_be_written_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    Path("occupied").touch()
    assert main(["--workflow", workflow(SAVE), "--output-dir", "occupied"]) == 1
    assert "occupied" in capsys.readouterr().err
    assert engines() == []


def test_a_run_that_takes_too_long_is_ended(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--workflow", workflow(SLEEP), "--timeout", "0.2"]) == 1
    assert "did not finish within 0.2 seconds" in capsys.readouterr().err
    wait_until_gone()


def test_verbose_shows_the_engines_log(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--workflow", workflow(SAVE), "--verbose"]) == 0
    assert "comfyui: Starting server" in capsys.readouterr().err


def test_the_hashes_of_nodes_are_in_the_result_when_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    graph = workflow({"1": node("FixtureText", text="a"), "2": node("FixtureShow", ui=["1", 0])})
    run = ["--workflow", graph, "--output", "base64"]
    assert main(run) == 0
    assert "node_hashes" not in json.loads(capsys.readouterr().out)
    assert main([*run, "--node-hashes"]) == 0
    hashed = json.loads(capsys.readouterr().out)["node_hashes"]
    assert [(one["node"], one["class_type"]) for one in hashed] == [
        ("1", "FixtureText"),
        ("2", "FixtureShow"),
    ]
    assert {len(output["sha256"]) for one in hashed for output in one["outputs"]} == {64}
    assert main(["--ui", "--node-hashes"]) == 2
    assert "--node-hashes only applies to a workflow" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_ends_its_engine(number: signal.Signals) -> None:
    process = start("--workflow", workflow(SLEEP))
    wait_for(process.stderr, "was ready after")
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Interrupted" in errors
    assert "Run the same command again" in errors
    assert "Traceback" not in errors
    assert list(Path(tempfile.gettempdir()).iterdir()) == []
    wait_until_gone()


@pytest.mark.parametrize("flags", [["--json"], ["--output", "base64"]])
def test_an_interrupted_run_prints_a_document_too(flags: list[str]) -> None:
    process = start("--workflow", workflow(SLEEP), *flags)
    wait_for(process.stderr, "was ready after")
    process.send_signal(signal.SIGINT)
    printed, told = process.communicate(timeout=60)
    document = json.loads(printed)
    assert set(document) == {"error", "remedy", "exit_code"}
    assert document["exit_code"] == process.returncode == 130
    assert document["error"] == "interrupted"
    assert document["remedy"] in told


def test_a_run_that_is_killed_outright_takes_its_engine_along() -> None:
    process = start("--workflow", workflow(SLEEP))
    wait_for(process.stderr, "was ready after")
    assert engines()
    process.kill()
    process.communicate(timeout=60)
    wait_until_gone()


def test_the_page_is_served_until_it_is_interrupted() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    process = start("--ui", "--port", port)
    assert f"http://127.0.0.1:{port} until" in wait_for(process.stderr, "ComfyUI is at")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0
    wait_until_gone()


def test_half_a_character_does_not_keep_a_result_from_being_printed() -> None:
    graph = workflow({"1": {"class_type": "FixtureShow", "inputs": {"ui": {"text": ["a\ud800"]}}}})
    process = start("--workflow", graph, "--json")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert json.loads(out)["text"] == [{"node": "1", "text": "a?"}]


def test_a_reader_that_has_read_enough_is_not_an_error() -> None:
    process = start("--workflow", workflow(SAVE), "--output", "base64")
    assert process.stdout is not None
    process.stdout.close()
    wait_for(process.stderr, "was ready after")
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()
    assert process.wait(timeout=60) == 0


def _add_keyed_node(home: Path, line: str) -> Path:
    """Adds the node `keyed`, which executes `line` when it is imported; returns its file."""
    node = home / "ComfyUI/custom_nodes/keyed/__init__.py"
    node.parent.mkdir()
    node.write_text(
        f"import os, sys\nimport fixture_nodes\n{line}\n"
        "NODE_CLASS_MAPPINGS = {'Keyed': fixture_nodes.FixtureSave}\n"
    )
    return node


def test_a_node_that_the_check_could_not_import_runs_where_its_need_is_met(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    node = _add_keyed_node(home, "os.environ['SOME_KEY']")
    manifest = load_manifest(home)
    assert manifest is not None
    needs = {"nodes": [ManifestNode(name="keyed")], "import_needs": {"keyed": ["env:SOME_KEY"]}}
    save_manifest(home, manifest.model_copy(update=needs))
    python = str(home / ".venv/bin/python")
    report = str(home / "report.json")
    assert check(["--home", str(home), "--python", python, "--report", report, "--seal"]) == 0
    graph = workflow({"1": {**SAVE["1"], "class_type": "Keyed"}})
    capsys.readouterr()

    assert main(["--workflow", graph]) == 2
    told = capsys.readouterr().err
    assert 'this version has no node class "Keyed"' in told
    assert "Note: the custom node keyed was not imported, because it needs the variable" in told

    monkeypatch.setenv("SOME_KEY", "x")
    assert main(["--workflow", graph]) == 0
    node.write_text("raise RuntimeError('no luck')\n")
    capsys.readouterr()
    assert main(["--workflow", graph]) == 2
    told = capsys.readouterr().err
    assert "Warning: the custom node keyed failed to import: custom_nodes/keyed/__init__" in told


def test_a_node_that_ends_the_engine_without_what_it_needs_is_left_out(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _add_keyed_node(home, "os.environ.get('SOME_KEY') or sys.exit('no key')")
    manifest = load_manifest(home)
    assert manifest is not None
    save_manifest(home, manifest.model_copy(update={"nodes": [ManifestNode(name="keyed")]}))
    options = ["--home", str(home), "--python", str(home / ".venv/bin/python"), "--seal"]
    options += ["--report", str(home / "report.json")]
    assert check(options) == 1
    needs = {"nodes": [ManifestNode(name="keyed")], "import_needs": {"keyed": ["env:SOME_KEY"]}}
    save_manifest(home, manifest.model_copy(update=needs))
    assert check(options) == 0
    recorded = load_manifest(home)
    assert recorded is not None
    assert recorded.check is not None
    reason = recorded.check.not_imported["keyed"].reason
    assert reason.startswith("ComfyUI ended with status 1 before it was ready, while it executed")
    capsys.readouterr()
    assert main(["--workflow", workflow(SAVE)]) == 0
    assert "it is left out on this machine" in capsys.readouterr().err
    monkeypatch.setenv("SOME_KEY", "x")
    assert main(["--workflow", workflow({"1": {**SAVE["1"], "class_type": "Keyed"}})]) == 0
