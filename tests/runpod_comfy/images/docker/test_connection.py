"""Engines that cannot build, each reported with exit code 5."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from comfy_errors import InvalidInputError
from runpod_comfy.images.docker.connection import NoEngineError, connect
from tests.ordinary_user import as_ordinary_user, users_folder
from tests.runpod_comfy.images.canned_engine import CannedEngine, served

place = pytest.fixture(users_folder)


@pytest.fixture(autouse=True)
def _no_engine_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))


def test_without_an_engine_the_error_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(NoEngineError) as raised:
        connect(f"unix://{tmp_path}/docker.sock")

    assert raised.value.exit_code == 5
    assert f"no Docker engine answers at unix://{tmp_path}/docker.sock" in raised.value.message
    assert "No such file" in raised.value.message
    assert "apt-get install docker.io" in raised.value.remedy


def test_a_port_without_a_listener_is_not_an_engine() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    with pytest.raises(NoEngineError, match="Connection refused"):
        connect(f"tcp://127.0.0.1:{port}")


def test_an_engine_that_says_nothing_is_waited_for_no_longer_than_asked() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(NoEngineError, match="timed out"):
            connect(address, wait_s=1)
        assert time.monotonic() - began < 5


def test_the_engine_of_docker_host_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/elsewhere.sock")

    with pytest.raises(NoEngineError, match="no Docker engine answers"):
        connect()

    with served(CannedEngine()) as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        connect().close()


@pytest.mark.parametrize(
    ("name", "value"),
    [("DOCKER_HOST", "ftp://somewhere"), ("DOCKER_CONTEXT", "not-there")],
)
def test_settings_that_name_no_engine_are_reported(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(NoEngineError) as raised:
        connect()

    assert value.partition("://")[2] in raised.value.message


def test_a_login_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    settings = tmp_path / "docker" / "config.json"
    settings.parent.mkdir()
    settings.write_text('{"auths": {"registry.test": {"auth": "bm8gY29sb24="}}}')

    with (
        served(CannedEngine()) as address,
        pytest.raises(InvalidInputError, match=r"config\.json") as raised,
    ):
        connect(address)

    assert "docker login" in raised.value.remedy


def test_a_socket_of_others_is_reported_with_the_group_to_join(place: Path) -> None:
    path = place / "docker.sock"

    def ask() -> None:
        with pytest.raises(NoEngineError, match="permission denied") as raised:
            connect(f"unix://{path}")
        assert "group `docker`" in raised.value.remedy

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        path.chmod(0)
        as_ordinary_user(ask, place)


def test_an_engine_that_is_too_old_is_reported() -> None:
    with (
        served(CannedEngine(api_version="1.40")) as address,
        pytest.raises(NoEngineError, match=r"too old: of a test \(API 1\.40\)") as raised,
    ):
        connect(address)

    assert "20.10" in raised.value.remedy


@pytest.mark.parametrize("headers", [{}, {"Builder-Version": "2"}])
def test_an_engine_that_leaves_the_builder_open_or_has_buildkit_will_do(
    headers: dict[str, str],
) -> None:
    with served(CannedEngine(ping_headers=headers)) as address:
        connect(address).close()


def test_an_engine_of_windows_containers_is_reported() -> None:
    with (
        served(CannedEngine(ping_headers={"OSType": "windows"})) as address,
        pytest.raises(NoEngineError, match="Windows containers"),
    ):
        connect(address)


def test_an_engine_with_buildkit_switched_off_is_reported() -> None:
    with (
        served(CannedEngine(ping_headers={"Builder-Version": "1"})) as address,
        pytest.raises(NoEngineError, match="BuildKit switched off") as raised,
    ):
        connect(address)

    assert "daemon.json" in raised.value.remedy


def test_podman_without_buildkit_is_reported() -> None:
    with (
        served(CannedEngine(ping_headers={"Libpod-API-Version": "4.3.1"})) as address,
        pytest.raises(NoEngineError, match="Podman"),
    ):
        connect(address)


def _about(version: str, driver: str) -> dict[str, object]:
    return {"ServerVersion": version, "DriverStatus": [["driver-type", driver]]}


@pytest.mark.parametrize("version", ["26.1.5+dfsg1", "27.4.1"])
def test_an_engine_that_finds_no_context_in_containerds_store_is_reported(version: str) -> None:
    about = _about(version, "io.containerd.snapshotter.v1")

    with (
        served(CannedEngine(about=about)) as address,
        pytest.raises(NoEngineError, match=r"containerd's store") as raised,
    ):
        connect(address)

    assert "27.5" in raised.value.remedy


@pytest.mark.parametrize(
    "about",
    [
        _about("27.5.0", "io.containerd.snapshotter.v1"),
        _about("29.0.4", "io.containerd.snapshotter.v1"),
        {"ServerVersion": "26.1.5", "DriverStatus": [["Backing Filesystem", "extfs"]]},
        {"ServerVersion": "20.10.24", "DriverStatus": None},
    ],
)
def test_an_engine_whose_store_does_not_matter_will_do(about: dict[str, object]) -> None:
    with served(CannedEngine(about=about)) as address:
        connect(address).close()
