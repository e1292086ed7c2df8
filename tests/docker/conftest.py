"""Made once for all tests with an engine: they run in one process."""

from __future__ import annotations

from collections.abc import Iterator

import docker
import pytest

from tests import containers
from tests.containers import Registry, engine
from tests.docker.small_version import SmallVersions, small_versions

__all__ = ["engine"]


@pytest.fixture(scope="session")
def base_image(engine: docker.DockerClient) -> str:
    """The name of an image with Python and this machine's certificates."""
    return containers.base_image(engine)


@pytest.fixture(scope="session")
def registry(engine: docker.DockerClient, base_image: str) -> Iterator[Registry]:
    """A registry without a login."""
    with containers.registry(engine, base_image) as running:
        yield running


@pytest.fixture(scope="session")
def versions(tmp_path_factory: pytest.TempPathFactory) -> SmallVersions:
    """The specs `small` and `small-model`, of the torch-free core."""
    return small_versions(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def small_image(versions: SmallVersions, base_image: str) -> str:
    """The image of `small`, built through the real pipeline. Nobody removes it: it is a cache."""
    return versions.build("small", base_image)


@pytest.fixture(scope="session")
def small_image_with_node_model(versions: SmallVersions, base_image: str) -> str:
    """The image of `small-node-model`, which wants a model in the folder of its node."""
    return versions.build("small-node-model", base_image)


@pytest.fixture(scope="session")
def small_image_with_model(versions: SmallVersions, base_image: str) -> str:
    """The image of `small-model`, which wants a model that is not in it."""
    return versions.build("small-model", base_image)
