"""`models sync` and `models verify` as a pod runs them, on a volume that is a folder here."""

from __future__ import annotations

import errno
import hashlib
import json
import random
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfy_home.manifest import Manifest, ManifestModel, save_manifest
from comfy_models.model_file import ModelSource
from rp_handler.main import main
from tests.full_disk import nearly_full
from tests.http_server import Answer, Request, ranged, serve
from tests.model_hosts.hub import hub
from tests.model_hosts.s3 import KEY_ID, SECRET_KEY, s3
from tests.program import start_python

NAMES = ("vae/a.onnx", "loras/b.onnx")
BYTES = {name: random.Random(name).randbytes(3_000_000) for name in NAMES}


def sha256(name: str) -> str:
    return hashlib.sha256(BYTES[name]).hexdigest()


@pytest.fixture
def asked() -> list[Request]:
    """What the server was asked for."""
    return []


@pytest.fixture(autouse=True)
def url(home: Path, asked: list[Request]) -> Iterator[str]:
    """The server of the models of an image."""

    def answer(request: Request) -> Answer | None:
        asked.append(request)
        content = BYTES.get(request.path.removeprefix("/"))
        return ranged(request, content, etag='"1"') if content else None

    with serve(None, answer) as url:
        with_sources(home, lambda name: f"{url}/{name}")
        yield url


def with_sources(home: Path, source_of: Callable[[str], str]) -> None:
    models = [
        ManifestModel(
            target_path=name,
            sha256=sha256(name),
            size=len(BYTES[name]),
            sources=[ModelSource(url=source_of(name))],
        )
        for name in NAMES
    ]
    save_manifest(home, Manifest(version_id="demo", complete=True, models=models))


@pytest.fixture(autouse=True)
def volume(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The volume of a pod that runs the image."""
    monkeypatch.setenv("COMFY_BAKED_HOME", str(home))
    monkeypatch.setenv("COMFY_CACHE_ROOT", str(tmp_path / "cache"))
    for name in ("SERVERLESS", "POD"):
        place = tmp_path / name.lower()
        monkeypatch.setattr(f"rp_handler.home.model_search._{name}_VOLUME", place)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pod").mkdir()
    return tmp_path / "pod"


def put(folder: Path, name: str, content: bytes | None = None) -> Path:
    place = folder / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(BYTES[name] if content is None else content)
    return place


def states(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> list[str]:
    """The state of each model in the JSON document of a command."""
    document = result(capsys, *arguments, code=code)
    assert [model["target_path"] for model in document["models"]] == list(NAMES)
    return [model["state"] for model in document["models"]]


def result(capsys: pytest.CaptureFixture[str], *arguments: str, code: int) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["models", *arguments, "--json"]) == code
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_sync_fills_the_volume_that_is_there_and_then_has_nothing_to_do(
    volume: Path, asked: list[Request], capsys: pytest.CaptureFixture[str]
) -> None:
    assert states(capsys, "sync") == ["downloaded", "downloaded"]
    for name in NAMES:
        assert (volume / "models" / name).read_bytes() == BYTES[name]
    assert {path.name for path in (volume / "models").iterdir()} == {
        "vae",
        "loras",
        ".comfy_verified",
    }
    count = len(asked)
    assert states(capsys, "sync") == ["present", "present"]
    assert states(capsys, "sync", "--rehash") == ["verified", "verified"]
    assert len(asked) == count


def test_a_worker_finds_on_its_volume_what_a_pod_brought_there(
    volume: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "sync"]) == 0
    # The same volume, on a serverless worker.
    volume.rename(tmp_path / "serverless")
    assert states(capsys, "verify") == ["present", "present"]
    assert main(["models", "verify", "--verbose"]) == 0
    assert f"{tmp_path}/serverless/models/{NAMES[0]}" in capsys.readouterr().out


@pytest.mark.parametrize("place", ["argument", "MODELS_DIR", "COMFY_HOME", "home"])
def test_another_folder_can_be_named(
    place: str, home: Path, volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = tmp_path / "named/models"
    arguments = ["--models-dir", str(named)] if place == "argument" else []
    if place == "MODELS_DIR":
        monkeypatch.setenv("MODELS_DIR", str(named))
    if place == "COMFY_HOME":
        monkeypatch.setenv("COMFY_HOME", str(named.parent))
    if place == "home":
        volume.rmdir()
        named = home / "models"
    assert main(["models", "sync", *arguments]) == 0
    assert all((named / name).is_file() for name in NAMES)
    assert not (volume / "models").exists()


def test_control_characters_in_a_path_are_escapes_in_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "models\x1b[2J\n"
    for name in NAMES:
        put(folder, name)
    assert main(["models", "verify", "--verbose", "--models-dir", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(NAMES)
    assert f"{tmp_path}/models\\x1b[2J\\n/{NAMES[0]}" in lines[0]


def test_verify_names_what_is_missing_and_changes_nothing(
    volume: Path, asked: list[Request], capsys: pytest.CaptureFixture[str]
) -> None:
    put(volume / "models", NAMES[0])
    put(volume / "models", NAMES[1], b"short")
    assert states(capsys, "verify", code=4) == ["verified", "wrong"]
    assert main(["models", "verify"]) == 4
    said = capsys.readouterr()
    assert said.out.splitlines()[0].split() == ["present", NAMES[0], "3.0", "MB"]
    assert "1 of 2 models are missing or wrong" in said.err
    assert "b.onnx has 5 bytes, not 3000000" in said.err
    assert "models sync" in said.err
    assert (volume / "models" / NAMES[1]).read_bytes() == b"short"
    assert asked == []


def test_changed_bytes_are_found_by_reading_all_again(
    volume: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "sync"]) == 0
    place = volume / "models" / NAMES[0]
    memory = volume / "models/.comfy_verified"
    place.write_bytes(BYTES[NAMES[0]][::-1])
    status = place.stat()
    lie = f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:"
    memory.write_text(f"{sha256(NAMES[0])} {lie}{status.st_ctime_ns}\n")
    assert states(capsys, "verify")[0] == "present"
    assert states(capsys, "verify", "--rehash", code=4)[0] == "wrong"


def test_another_file_in_a_models_place_is_only_replaced_when_asked_to(
    volume: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = put(volume / "models", NAMES[0], b"somebody's own")
    assert states(capsys, "sync", code=4) == ["wrong", "downloaded"]
    assert place.read_bytes() == b"somebody's own"
    remedy = result(capsys, "sync", code=4)["remedy"]
    assert remedy.endswith("replace it with: models sync --overwrite")
    assert states(capsys, "sync", "--overwrite") == ["downloaded", "present"]
    assert place.read_bytes() == BYTES[NAMES[0]]
    assert list(place.parent.iterdir()) == [place]


def test_a_wrong_file_stays_if_the_right_one_cannot_be_had(
    home: Path, url: str, volume: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_sources(home, lambda name: f"{url}/none/{name}")
    place = put(volume / "models", NAMES[0], b"somebody's own")
    assert states(capsys, "sync", "--overwrite", code=3) == ["wrong", "missing"]
    assert place.read_bytes() == b"somebody's own"
    document = result(capsys, "sync", "--overwrite", code=3)
    assert "/none/loras/b.onnx could not be read" in document["error"]


def test_models_of_a_store_on_the_volume_are_linked_in_a_way_that_holds_elsewhere(
    volume: Path,
    tmp_path: Path,
    asked: list[Request],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stored(volume / "store", NAMES[0])
    monkeypatch.setenv("COMFY_CACHE_MODELS", str(volume / "store"))
    assert states(capsys, "sync") == ["downloaded", "downloaded"]
    assert (volume / "models" / NAMES[0]).is_symlink()
    assert not (volume / "models" / NAMES[1]).is_symlink()
    assert all(NAMES[0] not in request.path for request in asked)
    volume.rename(tmp_path / "serverless")
    monkeypatch.delenv("COMFY_CACHE_MODELS")
    assert states(capsys, "verify", "--rehash") == ["verified", "verified"]


def test_what_is_elsewhere_on_this_machine_is_copied_and_not_downloaded(
    volume: Path, asked: list[Request], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in NAMES:
        put(volume / "ComfyUI/models", name)
    assert states(capsys, "sync") == ["downloaded", "downloaded"]
    for name in NAMES:
        assert (volume / "models" / name).read_bytes() == BYTES[name]
    assert asked == []


def test_files_in_another_layout_are_found_by_verify(
    volume: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in NAMES:
        put(volume / "ComfyUI/models", name)
    assert main(["models", "verify"]) == 4
    assert f"→ Set MODELS_DIR={volume}/ComfyUI/models." in capsys.readouterr().err


def test_private_models_without_a_token_are_named_in_one_error_and_leave_nothing(
    home: Path, volume: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with hub() as double:
        commit = double.publish("org/repo", BYTES, access="private")
        with_sources(home, lambda name: f"hf://org/repo@{commit}/{name}")
        monkeypatch.setenv("HF_ENDPOINT", double.url)
        assert main(["models", "sync"]) == 3
    said = capsys.readouterr().err
    assert "HF_TOKEN" in said
    assert all(name in said for name in NAMES)
    assert [path for path in volume.rglob("*") if path.is_file()] == []


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_downloaded(
    tmp_path: Path, asked: list[Request], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["models", "sync", "--models-dir", str(tmp_path / "file/models")]) == 3
    assert "cannot be written" in capsys.readouterr().err
    assert asked == []


def stored(store: Path, name: str) -> Path:
    digest = sha256(name)
    place = store / "sha256" / digest[:2] / digest
    place.parent.mkdir(parents=True)
    place.write_bytes(BYTES[name])
    return place


@pytest.mark.parametrize("folder", ["pod/models", "other/models", "flat"])
def test_a_volume_gets_files_and_no_links_into_the_store_of_this_machine(
    folder: str, tmp_path: Path, asked: list[Request], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (stored(tmp_path / "cache/models", name) for name in NAMES)
    place = tmp_path / folder / NAMES[1]
    place.parent.mkdir(parents=True)
    place.symlink_to(second)
    arguments = ("--models-dir", str(tmp_path / folder))
    document = result(capsys, "verify", *arguments, code=4)
    assert [model["state"] for model in document["models"]] == ["missing", "missing"]
    assert f"{first} is the right file, but not in" in document["models"][0]["reason"]
    assert f"leads to {second}, out of" in document["models"][1]["reason"]
    assert "models sync" in document["remedy"]
    assert "COMFY_CACHE_MODELS" not in document["remedy"]
    assert states(capsys, "sync", *arguments) == ["downloaded", "downloaded"]
    for name in NAMES:
        file = tmp_path / folder / name
        assert not file.is_symlink()
        assert file.stat().st_nlink == 1
        assert file.read_bytes() == BYTES[name]
    assert second.read_bytes() == BYTES[NAMES[1]]
    assert asked == []
    assert states(capsys, "verify", *arguments) == ["present", "present"]


@pytest.mark.parametrize("place", ["argument", "MODELS_DIR", "volume"])
def test_verify_is_about_the_folder_and_not_about_what_this_machine_has_elsewhere(
    place: str,
    home: Path,
    volume: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in NAMES:
        put(home / "models", name)
    folder = volume / "models" if place == "volume" else tmp_path / "empty/models"
    put(folder, NAMES[1], b"somebody's own")
    if place == "MODELS_DIR":
        monkeypatch.setenv("MODELS_DIR", str(folder))
    arguments = ["--models-dir", str(folder)] if place == "argument" else []
    document = result(capsys, "verify", *arguments, code=4)
    assert [model["state"] for model in document["models"]] == ["missing", "wrong"]
    assert str(home / "models" / NAMES[0]) in document["models"][0]["reason"]
    assert "has 14 bytes" in document["models"][1]["reason"]


def test_a_models_folder_that_leads_out_of_the_volume_is_not_written_to(
    volume: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (volume / "models").mkdir()
    (tmp_path / "outside").mkdir()
    (volume / "models/vae").symlink_to(tmp_path / "outside")
    assert states(capsys, "sync", code=2) == ["missing", "downloaded"]
    assert list((tmp_path / "outside").iterdir()) == []


@pytest.mark.parametrize("name", [NAMES[0], "vae"])
def test_a_link_in_a_circle_is_wrong_and_the_other_models_arrive(
    name: str, volume: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    circle = volume / "models" / name
    circle.parent.mkdir(parents=True)
    circle.symlink_to(circle.name)
    document = result(capsys, "sync", code=4)
    assert [model["state"] for model in document["models"]] == ["wrong", "downloaded"]
    assert "lead in a circle" in document["models"][0]["reason"]
    assert "lead in a circle" in document["error"]
    assert circle.is_symlink()


def test_a_file_in_the_place_of_a_folder_keeps_no_other_model_back(
    volume: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (volume / "models").mkdir()
    (volume / "models/vae").touch()
    assert states(capsys, "sync", code=4) == ["missing", "downloaded"]


def test_without_room_another_models_folder_is_proposed(
    volume: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nearly_full(monkeypatch, free_bytes=1)
    document = result(capsys, "sync", code=1)
    assert "are needed below" in document["error"]
    assert "--models-dir" in document["remedy"]
    assert "COMFY_CACHE_MODELS" not in document["remedy"]


def test_for_a_folder_that_cannot_be_written_another_one_is_proposed(
    volume: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mkdir = Path.mkdir

    def refuse(path: Path, *arguments: Any, **options: Any) -> None:
        if path.name == "vae":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        mkdir(path, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", refuse)
    document = result(capsys, "sync", code=1)
    assert "permission denied" in document["error"]
    assert "--models-dir" in document["remedy"]


def test_volumes_of_several_data_centers_are_filled_over_s3(
    volume: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"EU-RO-1/first": "first", "US-KS-2/second": "second"}
    arguments = [word for name in names for word in ("--volume", name)]
    with s3() as double:
        for bucket in names.values():
            double.bucket(bucket)
        monkeypatch.setenv("RUNPOD_S3_URL", double.url)
        assert result(capsys, "sync", *arguments, code=3)["models"] == []
        monkeypatch.setenv("RUNPOD_S3_ACCESS_KEY_ID", KEY_ID)
        monkeypatch.setenv("RUNPOD_S3_SECRET_ACCESS_KEY", SECRET_KEY)
        double.put("second", f"models/{NAMES[0]}", b"somebody's own")
        document = result(capsys, "sync", *arguments, code=4)
        assert [
            (one["volume"], one["target_path"], one["state"]) for one in document["models"]
        ] == [
            ("EU-RO-1/first", NAMES[0], "uploaded"),
            ("EU-RO-1/first", NAMES[1], "uploaded"),
            ("US-KS-2/second", NAMES[0], "wrong"),
            ("US-KS-2/second", NAMES[1], "uploaded"),
        ]
        assert main(["models", "sync", *arguments, "--overwrite"]) == 0
        for bucket in names.values():
            for name in NAMES:
                stored = double.client.get_object(Bucket=bucket, Key=f"models/{name}")
                assert stored["Body"].read() == BYTES[name]
    said = capsys.readouterr()
    assert "2 models on 2 volumes: 3 present, 1 uploaded" in said.err
    assert list(volume.iterdir()) == []


def test_a_volume_and_a_folder_cannot_both_be_filled(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "sync", "--volume", "EU-RO-1/x", "--models-dir", "y"]) == 2
    assert "--models-dir" in capsys.readouterr().err
    assert main(["models", "sync", "--volume", "x"]) == 2
    assert "'x' does not name a volume" in capsys.readouterr().err


def test_help_names_the_commands_and_a_wrong_one_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for arguments, code in ((["--help"], 0), (["fill"], 2), ([], 2)):
        with pytest.raises(SystemExit) as ended:
            main(["models", *arguments])
        assert ended.value.code == code
    assert "models sync" in capsys.readouterr().out


# Another machine: it sees neither the locks nor the processes of this one, only the volume.
MACHINE = """\
import fcntl
import sys
from pathlib import Path

from comfy_files import machine

def no_locks(*_arguments):
    raise OSError(95, "this file system has no locks")

fcntl.flock = no_locks
machine.boot_id = lambda: sys.argv[1]

from comfy_models.transfer import lease
from rp_handler.home import model_search
from rp_handler.main import main

lease.BEAT_S, lease.LOST_AFTER_S, lease._SETTLE_S = 0.2, 2.0, 0.3
model_search._POD_VOLUME = Path(sys.argv[2])
sys.exit(main(["models", "sync"]))
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_output_that_cannot_be_written_is_an_error(flags: list[str]) -> None:
    with (
        Path("/dev/full").open("w") as stdout,
        start_python(
            *("-m", "rp_handler.main", "models", "sync", *flags),
            stdout=stdout,
            stderr=subprocess.PIPE,
        ) as process,
    ):
        _, told = process.communicate()
    assert process.returncode == 1
    assert "could not be read or written: disk full" in told
    assert "Traceback" not in told
    assert "Exception ignored" not in told


@pytest.mark.parametrize("option", ["--models-dir", "--home"])
def test_an_empty_folder_is_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["models", "sync", option, ""])
    assert ended.value.code == 2
    assert f"argument {option}: it is empty" in capsys.readouterr().err


@contextmanager
def machine(name: str, volume: Path) -> Iterator[subprocess.Popen[str]]:
    """A pod that fills the volume."""
    with start_python("-c", MACHINE, name, volume, stderr=subprocess.PIPE) as process:
        yield process


@pytest.fixture
def slow_url(home: Path, asked: list[Request]) -> Iterator[str]:
    """A server that takes some seconds for each model."""

    def answer(request: Request) -> Answer | None:
        asked.append(request)
        content = BYTES[request.path.removeprefix("/")]
        return replace(ranged(request, content, etag='"1"'), rate=1_500_000)

    with serve(None, answer) as url:
        with_sources(home, lambda name: f"{url}/{name}")
        yield url


def test_of_two_machines_that_fill_one_volume_one_downloads_and_the_other_waits(
    volume: Path, slow_url: str, asked: list[Request]
) -> None:
    with machine("first", volume) as first, machine("second", volume) as second:
        said = [process.communicate()[1] for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], said
    assert any("which another machine is downloading" in one for one in said)
    assert sent_bytes(asked) < 1.2 * sum(map(len, BYTES.values()))
    for name in NAMES:
        assert (volume / "models" / name).read_bytes() == BYTES[name]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_leaves_in_order_and_prints_a_document(
    volume: Path, slow_url: str, number: signal.Signals
) -> None:
    command = ("-m", "rp_handler.main", "models", "sync", "--json", "--models-dir", volume)
    with start_python(*command, stderr=subprocess.PIPE) as process:
        while not any(path.stat().st_size > 500_000 for path in volume.rglob("*.partial")):
            assert process.poll() is None
        process.send_signal(number)
        out, said = process.communicate()
    assert process.returncode == 130
    assert json.loads(out)["error"] == "interrupted"
    assert said.endswith("Interrupted.\n  → Run the same command again to continue.\n")
    assert list(volume.rglob("*.lease")) == []


def test_a_machine_that_died_blocks_no_other_and_its_bytes_are_kept(
    volume: Path, slow_url: str, asked: list[Request]
) -> None:
    with machine("first", volume) as first:
        while not any(path.stat().st_size > 500_000 for path in volume.rglob("*.partial")):
            assert first.poll() is None
        first.send_signal(signal.SIGKILL)
        first.communicate()
    with machine("second", volume) as second:
        _, said = second.communicate()
    assert second.returncode == 0, said
    for name in NAMES:
        assert (volume / "models" / name).read_bytes() == BYTES[name]
    assert list(volume.rglob("*.partial")) == list(volume.rglob("*.lease")) == []


def sent_bytes(asked: list[Request]) -> int:
    """At most how many bytes a server was asked for."""
    total = 0
    for request in asked:
        span = (request.headers["Range"] or "bytes=0-").removeprefix("bytes=")
        first, _, last = span.partition("-")
        size = len(BYTES[request.path.removeprefix("/")])
        total += (int(last) + 1 if last else size) - int(first)
    return total
