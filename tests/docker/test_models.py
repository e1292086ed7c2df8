"""The models of an image on a volume: filled from a container, and read by another."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.containers import Finished, run_to_end
from tests.docker.small_version import MODEL, MODEL_BYTES, SmallVersions
from tests.http_server import serve
from tests.model_hosts.s3 import KEY_ID, SECRET_KEY, s3

VERSION = "small-web-model"


@dataclass(frozen=True, kw_only=True)
class WebImage:
    """An image whose model comes from a web server, which `asked` tells the requests of."""

    tag: str
    asked: list[str]

    def run(self, *command: str, volume: Path, mode: str = "rw", **options: Any) -> Finished:
        """Runs it on the network of this machine, with a volume of pods, as its own user."""
        return run_to_end(
            self.tag,
            command,
            volumes={volume: "/workspace"},
            volume_mode=mode,
            network_mode="host",
            **options,
        )


@pytest.fixture(scope="module")
def image(
    versions: SmallVersions, base_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WebImage]:
    served = tmp_path_factory.mktemp("served")
    (served / Path(MODEL).name).write_bytes(MODEL_BYTES)
    asked: list[str] = []
    with serve(served, lambda request: asked.append(request.path)) as url:
        specs = versions.program.folder / "versions"
        spec = json.loads((specs / "small-model.json").read_text())
        spec["version_id"] = VERSION
        spec["models"][0]["source"] = f"{url}/{Path(MODEL).name}"
        (specs / f"{VERSION}.json").write_text(json.dumps(spec))
        tag = versions.build(VERSION, base_image)
        yield WebImage(tag=tag, asked=asked)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """An empty folder that any user may write to."""
    folder = tmp_path / "volume"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


def test_a_pod_fills_the_volume_and_a_worker_runs_with_it(image: WebImage, volume: Path) -> None:
    missing = image.run("models", "verify", volume=volume)
    assert missing.code == 4
    assert MODEL in missing.err
    filled = image.run("models", "sync", volume=volume)
    assert filled.code == 0, filled.err
    assert filled.out.split()[:2] == ["downloaded", MODEL]
    assert (volume / "models" / MODEL).read_bytes() == MODEL_BYTES
    image.asked.clear()
    for command in (["models", "verify", "--rehash"], ["models", "sync"]):
        done = image.run(*command, volume=volume)
        assert done.code == 0, done.err
    assert image.asked == []
    worked = run_to_end(
        image.tag,
        ["--workflow", "/app/workflows/model.json", "--output", "base64"],
        volumes={volume: "/runpod-volume"},
        network_mode="none",
    )
    assert worked.code == 0, worked.err


def test_a_wrong_file_is_found_and_replaced_when_asked_to(image: WebImage, volume: Path) -> None:
    place = volume / "models" / MODEL
    place.parent.mkdir(parents=True)
    place.write_bytes(MODEL_BYTES[::-1])
    for folder in (place.parent, place.parent.parent):
        folder.chmod(0o777)
    assert image.run("models", "sync", volume=volume).code == 4
    assert place.read_bytes() == MODEL_BYTES[::-1]
    replaced = image.run("models", "sync", "--overwrite", volume=volume)
    assert replaced.code == 0, replaced.err
    assert place.read_bytes() == MODEL_BYTES


def test_a_volume_that_cannot_be_written_is_refused(image: WebImage, volume: Path) -> None:
    refused = image.run("models", "sync", volume=volume, mode="ro")
    assert refused.code == 3
    assert "/workspace/models cannot be written" in refused.err


def test_a_worker_that_downloads_fills_its_volume(image: WebImage, volume: Path) -> None:
    done = image.run(
        *("--workflow", "/app/workflows/model.json", "--output", "base64"),
        volume=volume,
        environment={"COMFY_MISSING_MODELS": "download"},
    )
    assert done.code == 0, done.err
    assert (volume / "models" / MODEL).read_bytes() == MODEL_BYTES


def test_an_image_fills_a_network_volume_over_s3(image: WebImage) -> None:
    with s3() as double:
        double.bucket("first")
        done = run_to_end(
            image.tag,
            ["models", "sync", "--volume", "EU-RO-1/first"],
            network_mode="host",
            environment={
                "RUNPOD_S3_URL": double.url,
                "RUNPOD_S3_ACCESS_KEY_ID": KEY_ID,
                "RUNPOD_S3_SECRET_ACCESS_KEY": SECRET_KEY,
            },
        )
        assert done.code == 0, done.err
        stored = double.client.get_object(Bucket="first", Key=f"models/{MODEL}")
        assert stored["Body"].read() == MODEL_BYTES
