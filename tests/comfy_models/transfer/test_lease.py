from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from comfy_files.machine import boot_id, this_process
from comfy_models.transfer.lease import Lease, take_lease


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.lease"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    module = "comfy_models.transfer.lease"
    times = {
        "BEAT_S": 0.05,
        "LOST_AFTER_S": 0.5,
        "_FRESH_S": 0.3,
        "_SETTLE_S": 0.1,
        "_LOOK_S": 0.02,
    }
    for name, seconds in times.items():
        monkeypatch.setattr(f"{module}.{name}", seconds)


def _take(
    path: Path,
    *,
    is_locked: bool = False,
    is_done: Callable[[], bool] = lambda: False,
    wait: Callable[[], None] = lambda: None,
) -> Lease | None:
    return take_lease(path, is_locked=is_locked, is_done=is_done, wait=wait)


def test_a_free_lease_is_taken_and_given_back(path: Path) -> None:
    lease = _take(path)
    assert lease is not None
    assert lease.holds()
    assert path.exists()
    lease.end()
    assert not path.exists()


def test_a_lease_whose_owner_lives_is_waited_for(path: Path) -> None:
    first = _take(path)
    assert first is not None
    began, waits = time.monotonic(), list[int]()
    threading.Timer(1.0, first.end).start()
    second = _take(path, wait=lambda: waits.append(1))
    assert second is not None
    assert time.monotonic() - began > 0.9
    assert waits
    second.end()


def test_nobody_waits_for_what_is_done(path: Path) -> None:
    first = _take(path)
    assert first is not None
    assert _take(path, is_done=lambda: True) is None
    first.end()


def test_a_lease_that_stands_still_is_taken_over(path: Path) -> None:
    path.write_text("token another-start-of-another-machine 1-1\n")
    began = time.monotonic()
    lease = _take(path)
    assert lease is not None
    assert time.monotonic() - began > 0.5
    lease.end()


def test_the_lease_of_a_process_of_this_machine_that_has_ended_is_taken_over_at_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfy_models.transfer.lease.LOST_AFTER_S", 1000.0)
    # Another process has that number now.
    pid = this_process().split("-")[0]
    path.write_text(f"token {boot_id()} {pid}-1\n")
    lease = _take(path, is_locked=True)
    assert lease is not None
    lease.end()


def test_of_several_that_take_over_one_gets_the_lease(path: Path) -> None:
    path.write_text("token another-start-of-another-machine 1-1\n")
    owners: list[Lease] = []

    def take() -> None:
        lease = _take(path, is_done=lambda: bool(owners))
        if lease is not None:
            owners.append(lease)

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # A slow one may have come late: then the one before it notices.
    time.sleep(0.3)
    assert [lease.holds() for lease in owners].count(True) == 1
    for lease in owners:
        lease.end()
    assert not path.exists()


def test_an_owner_notices_that_it_was_taken_for_dead(path: Path) -> None:
    lease = _take(path)
    assert lease is not None
    path.unlink()
    other = _take(path)
    assert other is not None
    time.sleep(0.2)
    assert not lease.holds()
    lease.end()
    # It does not take away what is not its own.
    assert other.holds()
    assert path.exists()
    other.end()


@pytest.mark.parametrize("size", [0, 1, 32, 5000])
def test_nonsense_is_taken_over(path: Path, size: int) -> None:
    path.write_bytes(random.Random(size).randbytes(size))
    lease = _take(path, is_locked=True)
    assert lease is not None
    lease.end()
