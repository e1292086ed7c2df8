from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.model_hosts.gcs import GcsDouble, gcs
from tests.model_hosts.s3 import S3Double, s3


@pytest.fixture(scope="session")
def gcs_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GcsDouble]:
    with gcs(tmp_path_factory.mktemp("gcs")) as it:
        yield it


@pytest.fixture
def storage(gcs_process: GcsDouble) -> GcsDouble:
    """Google Cloud Storage with a private bucket `results`."""
    gcs_process.reset()
    gcs_process.bucket("results", "private")
    return gcs_process


@pytest.fixture
def amazon() -> Iterator[S3Double]:
    """S3 with a bucket `results`."""
    with s3() as it:
        it.bucket("results")
        yield it


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "x.png"
    path.write_bytes(b"bytes \x00\xff")
    return path
