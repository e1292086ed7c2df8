"""One download among processes and machines."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import time

import pytest

from comfy_models.store import ModelStore
from tests.model_downloads import CONTENT, MIB, Model, Served, fetching, files_in, serving

# A process that runs this is on another machine: it does not see the locks of the others.
ELSEWHERE = """
import comfy_models.transfer.claim as claim, comfy_models.transfer.lease as lease
claim.lock = lambda *_, **__: True
lease.boot_id = lambda: {boot!r}
lease.BEAT_S, lease.LOST_AFTER_S, lease._FRESH_S, lease._SETTLE_S = 0.1, 1.0, 0.5, 0.2
"""
HERE = ELSEWHERE.format(boot="here").replace("claim.lock", "unused")
THERE = ELSEWHERE.format(boot="there")


SMALL = CONTENT[: 2 * MIB]
MODEL = Model(sha256=hashlib.sha256(SMALL).hexdigest(), size=len(SMALL))


def test_eight_processes_download_a_model_once(store: ModelStore) -> None:
    # They start together: after what takes long to import.
    eight = "import os, requests, tests.model_downloads\nfor _ in range(3): os.fork()"
    served = Served(content=SMALL, held_at=MIB)
    said: list[str] = []
    with serving(x=served) as url:
        processes = fetching(store.root, f"{url}/x", model=MODEL, before=eight)
        assert processes.stdout is not None
        for line in processes.stdout:
            said.append(line.strip())
            if said.count("Waiting for vae/x.bin, which is already being downloaded") == 7:
                served.release.set()
        processes.wait()
    assert said.count("done") == 8
    assert served.sent_bytes <= 1.05 * len(SMALL)
    assert files_in(store.root) == [store.path_of(MODEL.sha256)]


def _begins(store: ModelStore, url: str) -> subprocess.Popen[str]:
    """A download from another machine that has begun."""
    process = fetching(store.root, url, model=MODEL, before=THERE)
    assert process.stdout is not None
    assert process.stdout.readline().strip().isdecimal()
    return process


def _waits(store: ModelStore, url: str) -> subprocess.Popen[str]:
    """A download from this machine, which waits for the other one."""
    process = fetching(store.root, url, model=MODEL, before=HERE)
    assert process.stdout is not None
    waiting = "Waiting for vae/x.bin, which another machine is downloading\n"
    assert process.stdout.readline() == waiting
    return process


@pytest.mark.parametrize("end", ["finishes", "dies"])
def test_another_machine_is_waited_for_until_it_has_finished_or_shows_no_life(
    store: ModelStore, end: str
) -> None:
    served = Served(content=SMALL, held_at=MIB)
    with serving(x=served) as url:
        first = _begins(store, f"{url}/x")
        second = _waits(store, f"{url}/x")
        if end == "dies":
            first.kill()
        served.release.set()
        first.communicate()
        said = second.communicate()[0]
    assert first.returncode == (0 if end == "finishes" else -signal.SIGKILL)
    assert second.returncode == 0
    # It downloads only what the other one did not.
    assert (said == "done\n") is (end == "finishes")
    assert served.sent_bytes <= 1.5 * len(SMALL)
    assert files_in(store.root) == [store.path_of(MODEL.sha256)]


def test_a_machine_that_was_stopped_notices_that_another_one_took_over(
    store: ModelStore,
) -> None:
    served = Served(content=SMALL, held_at=MIB)
    with serving(x=served) as url:
        first = _begins(store, f"{url}/x")
        first.send_signal(signal.SIGSTOP)
        second = _waits(store, f"{url}/x")
        # It takes over.
        assert second.stdout is not None
        assert second.stdout.readline().strip().isdecimal()
        first.send_signal(signal.SIGCONT)
        time.sleep(0.5)
        served.release.set()
        said = first.communicate()[0]
        second.communicate()
    assert (first.returncode, second.returncode) == (0, 0)
    assert "Another machine took over the download of vae/x.bin\n" in said
    assert files_in(store.root) == [store.path_of(MODEL.sha256)]
