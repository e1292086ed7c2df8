"""Where a build gets its packages, and which indexes are passed to it, with real indexes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from comfy_errors import MismatchError, OperationFailedError, UnavailableError
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.images.context.packages import Packages, is_open, packages_for
from runpod_comfy.lock.model import Distribution, DistributionFile, PythonLock
from runpod_comfy.lock.python.wheels import platform_files
from tests.full_disk import nearly_full
from tests.locks import python_lock
from tests.runpod_comfy.images.named_indexes import PASSWORD, USER, NamedIndexes, named_indexes

OPEN = "http://open.test/simple"
CLOSED = "http://closed.test/simple"
CLOSED_WITH_LOGIN = f"http://{USER}:{PASSWORD}@closed.test/simple"


@pytest.fixture
def indexes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NamedIndexes]:
    """Both indexes; pip knows the open one."""
    for name in list(os.environ):
        if name.startswith(("PIP_", "UV_")):
            monkeypatch.delenv(name)
    with named_indexes(tmp_path / "indexes") as running:
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        monkeypatch.setenv("PIP_PROXY", running.proxy)
        monkeypatch.setenv("PIP_INDEX_URL", OPEN)
        yield running


def _lock(*wheels: Distribution, torch: Distribution | None = None, **changes: str) -> PythonLock:
    return python_lock(torch=[torch] if torch else [], wheels=list(wheels), **changes)


def _packages(
    python: PythonLock, fetch_context: FetchContext, *, has_network: bool = True
) -> Packages:
    files = platform_files(python, "linux-x86_64")
    return packages_for(python, files, fetch_context, has_network=has_network)


def _handed_in(packages: Packages) -> set[str]:
    assert all(path.is_file() for _, path in packages.copied.values())
    return {name for name, _ in packages.copied.values()}


def test_an_open_index_is_passed_on_and_nothing_is_copied(
    indexes: NamedIndexes, fetch_context: FetchContext
) -> None:
    packages = _packages(_lock(indexes.publish("open.test", "alpha")), fetch_context)
    assert _handed_in(packages) == set()
    assert packages.variables["wheels"]["UV_DEFAULT_INDEX"] == OPEN
    assert indexes.asked == []


def test_files_of_an_index_with_a_login_are_copied_and_the_login_is_not_shown(
    indexes: NamedIndexes, fetch_context: FetchContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", CLOSED_WITH_LOGIN)
    both = indexes.publish("open.test", "both")
    indexes.publish("closed.test", "both")
    private = indexes.publish("closed.test", "private")
    packages = _packages(_lock(both, private), fetch_context)
    assert _handed_in(packages) == {"private-1.0-py3-none-any.whl"}
    assert packages.variables["wheels"]["UV_DEFAULT_INDEX"] == OPEN
    told = str(packages.variables)
    assert PASSWORD not in told
    assert "closed.test" not in told


def test_two_versions_of_one_name_are_distinguished(
    indexes: NamedIndexes, fetch_context: FetchContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handler may have another version than the version that the image is of."""
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", CLOSED_WITH_LOGIN)
    known = indexes.publish("open.test", "alpha")
    private = indexes.publish("closed.test", "alpha", "2.0")
    packages = _packages(_lock(known, private), fetch_context)
    assert _handed_in(packages) == {"alpha-2.0-py3-none-any.whl"}
    with pytest.raises(UnavailableError, match=r"1 Python package is not cached.*: alpha$"):
        _packages(_lock(known, private), replace(fetch_context, offline=True), has_network=False)


def test_the_handler_gets_its_packages_where_a_version_gets_its_own(
    indexes: NamedIndexes, fetch_context: FetchContext
) -> None:
    packages = _packages(_lock(indexes.publish("open.test", "alpha")), fetch_context)
    assert packages.variables["handler"] == packages.variables["wheels"]


def test_a_login_of_netrc_closes_an_index_as_well(
    indexes: NamedIndexes,
    fetch_context: FetchContext,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / "netrc").write_text(f"machine closed.test login {USER} password {PASSWORD}\n")
    monkeypatch.setenv("PIP_INDEX_URL", CLOSED)
    packages = _packages(_lock(indexes.publish("closed.test", "private")), fetch_context)
    assert _handed_in(packages) == {"private-1.0-py3-none-any.whl"}
    assert packages.variables["wheels"] == {"NO_INDEX": "1"}


def test_an_index_that_uv_knows_by_name_gets_the_login_of_its_variables(
    indexes: NamedIndexes, fetch_context: FetchContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_INDEX", f"our-own={CLOSED}")
    monkeypatch.setenv("UV_DEFAULT_INDEX", OPEN)
    monkeypatch.setenv("UV_INDEX_OUR_OWN_USERNAME", USER)
    monkeypatch.setenv("UV_INDEX_OUR_OWN_PASSWORD", PASSWORD)
    private = indexes.publish("closed.test", "private")
    packages = _packages(_lock(private, indexes.publish("open.test", "alpha")), fetch_context)
    assert _handed_in(packages) == {"private-1.0-py3-none-any.whl"}
    assert PASSWORD not in str(packages)


def test_too_little_room_for_what_is_copied_is_found_before_it_is_downloaded(
    indexes: NamedIndexes, fetch_context: FetchContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = indexes.publish("open.test", "own")
    # It is stored, and copied into the context.
    size_bytes = 1000
    (file,) = own.files
    own = own.model_copy(update={"files": [file.model_copy(update={"size": size_bytes})]})
    nearly_full(monkeypatch, free_bytes=2 * size_bytes - 1)
    with pytest.raises(OperationFailedError, match="are needed below .*, but only"):
        _packages(_lock(own), fetch_context, has_network=False)
    assert not fetch_context.cache.archives.exists()
    nearly_full(monkeypatch, free_bytes=2 * size_bytes)
    assert _handed_in(_packages(_lock(own), fetch_context, has_network=False))


def test_a_folder_of_wheels_is_never_passed_on_and_its_own_files_are_copied(
    indexes: NamedIndexes,
    fetch_context: FetchContext,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    own = indexes.publish("folder", "own")
    alpha = indexes.publish("open.test", "alpha")
    indexes.publish("folder", "alpha")
    monkeypatch.setenv("PIP_FIND_LINKS", str(indexes.folder / "folder" / "files"))
    packages = _packages(_lock(own, alpha), fetch_context)
    assert _handed_in(packages) == {"own-1.0-py3-none-any.whl"}
    assert str(tmp_path) not in str(packages.variables)


def test_a_closed_index_of_torch_alone_counts_for_its_group(
    indexes: NamedIndexes, fetch_context: FetchContext
) -> None:
    torch = indexes.publish("torch", "torch")
    index = (indexes.folder / "torch" / "simple").as_uri()
    python = _lock(indexes.publish("open.test", "alpha"), torch=torch, torch_index=index)
    packages = _packages(python, fetch_context)
    assert _handed_in(packages) == {"torch-1.0-py3-none-any.whl"}
    assert "file:" not in str(packages.variables)


def test_an_open_index_of_torch_is_passed_to_its_group_alone(
    indexes: NamedIndexes, fetch_context: FetchContext
) -> None:
    index = "http://torch.test/whl"
    torch = indexes.publish("open.test", "torch")
    packages = _packages(_lock(torch=torch, torch_index=index), fetch_context)
    assert packages.variables["torch"]["UV_INDEX"] == index
    assert index not in str([packages.variables["wheels"], packages.variables["install"]])


def test_an_index_of_torch_does_not_break_a_wish_for_none(
    indexes: NamedIndexes, fetch_context: FetchContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = indexes.publish("folder", "torch")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(indexes.folder / "folder" / "files"))
    packages = _packages(_lock(torch=torch, torch_index="http://torch.test/whl"), fetch_context)
    assert _handed_in(packages) == {"torch-1.0-py3-none-any.whl"}
    assert packages.variables["torch"] == {"NO_INDEX": "1"}
    assert indexes.asked == []


def test_a_build_without_a_network_gets_everything_in_its_context(
    indexes: NamedIndexes, fetch_context: FetchContext
) -> None:
    python = _lock(
        indexes.publish("open.test", "alpha"), torch=indexes.publish("open.test", "torch")
    )
    packages = _packages(python, fetch_context, has_network=False)
    assert _handed_in(packages) == {"alpha-1.0-py3-none-any.whl", "torch-1.0-py3-none-any.whl"}
    assert packages.variables["wheels"] == packages.variables["torch"] == {"NO_INDEX": "1"}


def test_a_certificate_of_ones_own_closes_every_index(
    indexes: NamedIndexes,
    fetch_context: FetchContext,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / "key.pem").write_text("a private key")
    monkeypatch.setenv("PIP_CLIENT_CERT", str(tmp_path / "key.pem"))
    monkeypatch.setenv("PIP_TRUSTED_HOST", "open.test")
    packages = _packages(_lock(indexes.publish("open.test", "alpha")), fetch_context)
    assert _handed_in(packages) == {"alpha-1.0-py3-none-any.whl"}
    assert "key.pem" not in str(packages.variables)


def test_a_login_of_the_proxy_is_not_shown(
    indexes: NamedIndexes, fetch_context: FetchContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_login = indexes.proxy.replace("://", f"://{USER}:{PASSWORD}@")
    monkeypatch.setenv("PIP_PROXY", with_login)
    packages = _packages(_lock(indexes.publish("open.test", "alpha")), fetch_context)
    assert PASSWORD not in str(packages)


def test_offline_no_index_is_asked_and_cached_files_are_copied(
    indexes: NamedIndexes, fetch_context: FetchContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", CLOSED_WITH_LOGIN)
    private = indexes.publish("closed.test", "private")
    alpha = indexes.publish("open.test", "alpha")
    own = indexes.publish("folder", "own")
    _packages(_lock(private), fetch_context)
    indexes.asked.clear()
    monkeypatch.setenv("PIP_FIND_LINKS", str(indexes.folder / "folder" / "files"))
    python, offline = _lock(private, alpha, own), replace(fetch_context, offline=True)
    packages = _packages(python, offline)
    assert _handed_in(packages) == {"private-1.0-py3-none-any.whl", "own-1.0-py3-none-any.whl"}
    with pytest.raises(UnavailableError, match=r"not cached.*: alpha$"):
        _packages(python, offline, has_network=False)
    assert indexes.asked == []


def test_servers_are_asked_once_for_the_same(
    indexes: NamedIndexes, fetch_context: FetchContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", CLOSED_WITH_LOGIN)
    python = _lock(indexes.publish("closed.test", "private"))
    first = _packages(python, fetch_context)
    indexes.asked.clear()
    assert _packages(python, fetch_context) == first
    assert indexes.asked == []
    for memory in fetch_context.cache.tools.iterdir():
        assert PASSWORD not in memory.read_text()
        os.utime(memory, (time.time() - 2 * 3600,) * 2)
    assert _packages(python, fetch_context) == first
    assert indexes.asked != []


def test_a_folder_is_looked_at_each_time(
    indexes: NamedIndexes, fetch_context: FetchContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = indexes.publish("folder", "own")
    place = indexes.folder / "folder" / "files" / own.files[0].name
    content = place.read_bytes()
    place.unlink()
    monkeypatch.setenv("PIP_FIND_LINKS", str(place.parent))
    assert _handed_in(_packages(_lock(own), fetch_context)) == set()
    place.write_bytes(content)
    assert _handed_in(_packages(_lock(own), fetch_context)) == {own.files[0].name}


def test_other_bytes_than_those_of_the_lock_are_refused(
    indexes: NamedIndexes, fetch_context: FetchContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", CLOSED_WITH_LOGIN)
    private = indexes.publish("closed.test", "private")
    other = DistributionFile(name=private.files[0].name, sha256="a" * 64, size=1)
    with pytest.raises(MismatchError, match="private"):
        _packages(_lock(private.model_copy(update={"files": [other]})), fetch_context)


def test_an_index_that_refuses_the_login_is_an_error_without_it(
    indexes: NamedIndexes, fetch_context: FetchContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", CLOSED_WITH_LOGIN.replace(USER, "somebody-else"))
    with pytest.raises(UnavailableError) as raised:
        _packages(_lock(indexes.publish("closed.test", "private")), fetch_context)
    assert "401" in raised.value.message
    assert PASSWORD not in raised.value.in_words()


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("https://pypi.org/simple", True),
        ("http://10.1.2.3:8080/simple", True),
        ("https://user@example.org/simple", False),
        ("https://user:word@example.org/simple", False),
        ("https://example.org/simple?token=abc", False),
        ("http://localhost:8000/simple", False),
        ("http://index.localhost/simple", False),
        ("http://127.0.0.2/simple", False),
        ("http://[::1]:80/simple", False),
        ("http://0.0.0.0:8000/simple", False),
        ("file:///srv/index", False),
        ("/srv/wheels", False),
        ("wheels", False),
    ],
)
def test_a_container_only_gets_what_it_can_reach_and_may_know(
    indexes: NamedIndexes, place: str, told: bool
) -> None:
    assert is_open(place) is told
