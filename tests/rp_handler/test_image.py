"""The command line in an image, which has a home of its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from comfy_home.lock_bytes import lock_digest
from comfy_home.manifest import Manifest, save_manifest
from rp_handler.main import main

TEXT = {"1": {"class_type": "FixtureShow", "inputs": {"ui": {"text": ["here"]}}}}


@pytest.fixture(autouse=True)
def _in_an_image(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COMFY_BAKED_HOME", str(home))
    monkeypatch.setenv("COMFY_VERSION_NAME", "demo")
    (tmp_path / "graph.json").write_text(json.dumps(TEXT), encoding="utf-8")


@pytest.fixture
def volume(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the version `other` where COMFY_HOME points."""
    volume = tmp_path / "volume"
    shutil.copytree(home, volume, symlinks=True)
    save_manifest(volume, Manifest(version_id="other", complete=True))
    monkeypatch.setenv("COMFY_HOME", str(volume))
    return volume


def run(*arguments: str) -> int:
    return main(["--workflow", "graph.json", "--json", "--output", "base64", *arguments])


def test_the_images_own_home_is_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version-id", "demo") == 0
    assert json.loads(capsys.readouterr().out)["version"]["id"] == "demo"


@pytest.mark.parametrize("named", ["", "sha256:" + "5e" * 32, "r:5000/me/x:1@sha256:" + "5e" * 32])
def test_the_result_names_the_image_as_it_is_stated(
    named: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMFY_IMAGE", named)
    assert run() == 0
    assert json.loads(capsys.readouterr().out)["version"]["image"] == (named or None)


@pytest.mark.parametrize(
    "named", ["latest", "sha256:5e", "me:secret@r/x@sha256:" + "5e" * 32, "sha256:" + "5E" * 32]
)
def test_what_is_no_digest_of_an_image_is_refused_and_not_shown(
    named: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMFY_IMAGE", named)
    assert run() == 2
    said = capsys.readouterr().err
    assert "COMFY_IMAGE is neither REPOSITORY@sha256:… nor sha256:…" in said
    assert named not in said


def test_a_home_on_the_volume_is_run_in_its_place(
    volume: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Although COMFY_VERSION_NAME is set: by the image, so it is not a request."""
    assert run() == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["version"]["id"] == "other"
    assert f'The version "other" at {volume} replaces the image\'s own.' in said.err


def test_another_version_than_the_one_asked_for_is_refused_saying_both(
    volume: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--version-id", "demo") == 2
    assert f'{volume} holds the version "other", not "demo"' in capsys.readouterr().err
    monkeypatch.delenv("COMFY_HOME")
    monkeypatch.setenv("COMFY_VERSION_NAME", "third")
    assert run() == 2
    assert 'holds the version "demo", not "third"' in capsys.readouterr().err


def test_another_lock_than_the_one_asked_for_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lock.json").write_text("{}", encoding="utf-8")
    monkeypatch.setenv("LOCK_PATH", str(tmp_path / "lock.json"))
    assert run() == 2
    said = capsys.readouterr().err
    assert "was made from the lock sha256:000" in said
    assert f"LOCK_PATH asks for {lock_digest({})[:20]}" in said


def test_a_damaged_image_is_to_be_built_again(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "ComfyUI/main.py").unlink()
    assert run() == 3
    assert "build it again" in capsys.readouterr().err


def test_without_anything_to_do_the_options_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "--rp_serve_api" in capsys.readouterr().err


def test_the_help_has_examples_for_images(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "docker run --rm IMAGE --workflow" in capsys.readouterr().out
