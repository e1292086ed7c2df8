"""`models sync` on volumes that an S3 server plays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from runpod_comfy.cli.app import run_command_line
from tests.model_hosts.s3 import KEY_ID, SECRET_KEY, S3Double, s3
from tests.model_versions import ModelVersion

CONTENT = b"GGUF" + b"a" * 50_000
SYNC = ("models", "sync", "small", "--volume", "EU-RO-1/first")


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Double]:
    with s3() as double:
        double.bucket("first")
        monkeypatch.setenv("RUNPOD_S3_URL", double.url)
        monkeypatch.setenv("RUNPOD_S3_ACCESS_KEY_ID", KEY_ID)
        monkeypatch.setenv("RUNPOD_S3_SECRET_ACCESS_KEY", SECRET_KEY)
        yield double


@pytest.fixture(autouse=True)
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the one model of the version `small` is made from."""
    project = tmp_path / "project"
    source = tmp_path / "a.gguf"
    source.write_bytes(CONTENT)
    version = ModelVersion(project=project)
    version.add(CONTENT, source.as_uri(), "loras/a.gguf")
    version.write()
    monkeypatch.chdir(project)
    monkeypatch.setenv("COMFY_CACHE_ROOT", str(tmp_path / "cache"))
    for name in ("COMFY_CACHE_MODELS", "COMFY_VERSION_NAME", "LOCK_PATH"):
        monkeypatch.delenv(name, raising=False)
    return source


def test_a_volume_is_filled_from_the_source_and_then_has_nothing_to_do(
    double: S3Double, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(SYNC) == 0
    said = capsys.readouterr()
    assert said.out.split() == ["uploaded", "EU-RO-1/first", "loras/a.gguf", "50.0", "kB"]
    assert "1 model on 1 volume: 1 uploaded" in said.err
    stored = double.client.get_object(Bucket="first", Key="models/loras/a.gguf")
    assert stored["Body"].read() == CONTENT
    source.unlink()
    assert run_command_line([*SYNC, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["counts"]["present"] == 1
    assert document["holds"] is True


def test_another_file_on_the_volume_is_left_alone_with_exit_code_4(
    double: S3Double, capsys: pytest.CaptureFixture[str]
) -> None:
    double.put("first", "models/loras/a.gguf", b"somebody's own")
    assert run_command_line(SYNC) == 4
    assert "--overwrite" in capsys.readouterr().err
    assert run_command_line([*SYNC, "--overwrite"]) == 0


def test_a_key_that_the_service_refuses_is_exit_code_3_and_is_not_printed(
    double: S3Double, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUNPOD_S3_ACCESS_KEY_ID", "nobody")
    assert run_command_line(SYNC) == 3
    said = capsys.readouterr().err
    assert "RUNPOD_S3_ACCESS_KEY_ID" in said
    assert SECRET_KEY not in said


def test_a_volume_has_to_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["models", "sync", "small"]) == 2
    assert run_command_line([*SYNC[:4], "somewhere"]) == 2
    assert "'somewhere' does not name a volume" in capsys.readouterr().err
