"""`add-node`, `add-model` and `override` as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runpod_comfy.cli.app import run_command_line


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "versions").mkdir()
    for name in ("core", "brush"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "main.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COMFY_CACHE_ROOT", str(tmp_path / "cache"))
    monkeypatch.setenv("COMFY_VERSION_NAME", "mine")
    assert run_command_line(["create", "mine", "--repo", "core"]) == 0
    return tmp_path / "versions" / "mine.json"


@pytest.mark.parametrize("command", ["add-node", "add-model", "override"])
def test_help_has_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        run_command_line([command, "--help"])
    assert f"runpod-comfy {command} mine " in capsys.readouterr().out.split("examples:")[1]


@pytest.mark.parametrize(
    "arguments", [["mine", "brush"], ["brush"], ["brush", "--version-id", "mine"]]
)
def test_the_version_is_named_as_everywhere(
    spec: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run_command_line(["add-node", *arguments]) == 0
    told = capsys.readouterr()
    assert told.out == f"{spec}\n"
    assert told.err == ("Added the custom node brush\nPin it with: runpod-comfy resolve mine\n")
    assert json.loads(spec.read_text())["custom_nodes"] == [{"name": "brush", "repo": "../brush"}]


def test_results_are_one_document(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    model = '{"source": "https://e.com/x.bin", "target_subdir": "vae"}'
    documents = []
    for arguments in (
        ["add-node", "mine", "brush", "--name", "pen"],
        ["add-model", "mine", model],
        ["override", "mine", "numpy==1.26"],
        ["override", "mine", "numpy==2"],
    ):
        assert run_command_line([*arguments, "--json"]) == 0
        documents.append(json.loads(capsys.readouterr().out))
    assert all(
        (each["version_id"], each["path"], each["written"]) == ("mine", str(spec), True)
        for each in documents
    )
    node, model_document, first, second = documents
    assert node["added"] == [{"name": "pen", "repo": "../brush"}]
    assert model_document["added"][0]["target_path"] == "vae/x.bin"
    assert (first["added"], first["replaced"]) == (["numpy==1.26"], [])
    assert (second["added"], second["replaced"]) == (["numpy==2"], ["numpy==1.26"])


def test_an_override_that_is_there_already_is_not_an_error(
    spec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = []
    for requirement in ("numpy==1.26", "numpy==1.26", "numpy==2"):
        capsys.readouterr()
        assert run_command_line(["override", "mine", requirement]) == 0
        said.append(capsys.readouterr().err)
    resolve = "Pin it with: runpod-comfy resolve mine\n"
    assert said == [
        f"Added the override numpy==1.26\n{resolve}",
        f"{spec} already has this content\n",
        f"Replaced the override numpy==1.26 with numpy==2\n{resolve}",
    ]


def test_a_refusal_is_a_sentence_and_a_next_step(
    spec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["add-node", "mine", "brush"]) == 0
    capsys.readouterr()
    assert run_command_line(["add-node", "mine", "brush"]) == 2
    error, remedy = capsys.readouterr().err.splitlines()
    assert error == f"error: {spec} already has a custom node 'brush', from ../brush"
    assert remedy.startswith("  → Choose another name with --name")
