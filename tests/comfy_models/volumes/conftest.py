from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from comfy_models.sources.hosts import Hosts
from comfy_models.store import ModelStore
from comfy_models.volumes.volume import Volume, volume_named
from tests.comfy_models.sources.reached import hosts_with
from tests.model_hosts.s3 import S3Double, s3


@pytest.fixture
def double() -> Iterator[S3Double]:
    with s3() as it:
        it.region = "EU-RO-1"
        for volume in ("first", "second"):
            it.bucket(volume)
        it.asked.clear()
        yield it


@pytest.fixture
def volumes(double: S3Double) -> list[Volume]:
    variables = {"RUNPOD_S3_URL": double.url}
    return [volume_named(text, variables) for text in ("EU-RO-1/first", "EU-RO-1/second")]


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "store")


@pytest.fixture
def hosts(double: S3Double, tmp_path: Path) -> Hosts:
    return hosts_with(tmp_path, double.variables)
