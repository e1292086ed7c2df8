"""Made once for all tests with an engine: they run in one process."""

from __future__ import annotations

from collections.abc import Iterator

import docker
import pytest

from tests import containers
from tests.containers import Registry


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """The engine; where none can be reached, every test that needs it fails."""
    client = containers.engine()
    yield client
    client.close()


@pytest.fixture(scope="session")
def base_image(engine: docker.DockerClient) -> str:
    """The name of an image with Python and this machine's certificates."""
    return containers.base_image(engine)


@pytest.fixture(scope="session")
def registry(engine: docker.DockerClient, base_image: str) -> Iterator[Registry]:
    """A registry without a login."""
    with containers.registry(engine, base_image) as running:
        yield running
