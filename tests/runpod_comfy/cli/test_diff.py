"""`diff --run`: what is refused before anything is resolved, realized or run."""

from __future__ import annotations

from pathlib import Path

import pytest

from runpod_comfy.cli.app import run_command_line
from tests.graphs import node, write_graph
from tests.specs import write_spec

CORE = {"repo": "https://example.invalid/core", "ref": "main", "commit": "1" * 40}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two versions that were never resolved, and a workflow."""
    for version_id in ("old", "new"):
        write_spec(tmp_path / "versions", version_id, core=CORE, nodes={})
    write_spec(tmp_path / "elsewhere", "old", core={**CORE, "ref": "dev"}, nodes={})
    write_graph(tmp_path / "w.json", {"1": node("Paint", name="x.png")})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COMFY_CACHE_ROOT", str(tmp_path / "cache"))
    monkeypatch.delenv("COMFY_HOME", raising=False)
    return tmp_path


RUN = ("--run", "old", "new", "--workflow", "w.json")


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (
            ("old", "new", "--workflow", "w.json", "--target-a", "x"),
            2,
            "--workflow and --target-a only apply to a comparison of runs\n  → Add --run,",
        ),
        (("old", "new", "--report", "r.html"), 2, "--report only applies to a comparison"),
        (("--run", "old", "new"), 2, "--run needs a workflow"),
        (("--run", "old", "new", "--workflow", "no.json"), 3, "there is no workflow at no.json"),
        (("--run", "old", "gone", "--workflow", "w.json"), 3, "there is no version spec at"),
        ((*RUN, "--tolerance", "max"), 2, 'the tolerance has "max"'),
        ((*RUN, "--report", "versions"), 2, "--report names a folder: versions"),
        ((*RUN, "--report", ""), 2, "--report is empty"),
        (
            (*RUN, "--image-b", "x", "--target-b", "y"),
            2,
            "--target-b cannot be used with --image-b",
        ),
        ((*RUN, "--target-a", "x", "--target-b", "./x"), 2, "old and new would have one home"),
        (
            ("--run", "old", "elsewhere/old.json", "--workflow", "w.json"),
            2,
            "old and elsewhere/old.json would have one home",
        ),
    ],
)
def test_what_does_not_fit_is_a_sentence(
    project: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    assert run_command_line(["diff", *options]) == code
    assert said in capsys.readouterr().err
    assert not (project / "lockfiles").exists()


def test_one_home_for_two_versions_is_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMFY_HOME", str(project / "one"))
    assert run_command_line(["diff", *RUN, "--target-a", "x"]) == 2
    told = capsys.readouterr().err
    assert "COMFY_HOME names one home, and each of the two versions needs its own" in told
    assert "Unset it, or name both homes with --target-a and --target-b." in told
