"""Killed in the middle, or run twice at once: the home comes out as if nothing had happened."""

from __future__ import annotations

import pickle
import signal
import subprocess
import time
from dataclasses import dataclass

import pytest

from comfy_home.manifest import load_manifest
from runpod_comfy.homes.home import Realization
from runpod_comfy.homes.run import realize
from tests.program import start_python
from tests.runpod_comfy.homes.conftest import Version, snapshot

# Each test makes an environment or a home, or starts a worker.
pytestmark = pytest.mark.slow

# In the order in which they are made: the environment comes before the home is touched.
ENVIRONMENT = ("torch", "wheels")
LAYERS = (*ENVIRONMENT, "system", "handler", "core", "models", "node:painter", "check")
LEFT_OUT = (".comfy_env", ".comfy_lock")
_DEADLINE_S = 120

# A realization in a process of its own, so that it can be killed. With a layer's name it dies
# there by itself, after the script and before the marker knows.
_PROGRAM = """
import os, pickle, signal, sys
from runpod_comfy.homes import fetch, run, steps
build = steps.build_layer
def build_and_die(layer, context, **options):
    build(layer, context, **options)
    if layer.name == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)
steps.build_layer = fetch.build_layer = build_and_die
with open(sys.argv[1], "rb") as stream:
    job = pickle.load(stream)
print(run.realize(job).changed)
"""


@dataclass(frozen=True, kw_only=True)
class Runner:
    """Realizes a job in processes of their own."""

    job: Realization

    def start(self, dies_after: str = "") -> subprocess.Popen[str]:
        pickled = self.job.base_dir / f"{self.job.target.name}.pickle"
        pickled.write_bytes(pickle.dumps(self.job))
        return start_python("-c", _PROGRAM, pickled, dies_after, stderr=subprocess.PIPE)

    def finish(self) -> None:
        out, err = self.start().communicate()
        assert out == "True\n", err


@pytest.fixture
def undisturbed(version: Version) -> dict[str, tuple[int, str, bytes]]:
    version.models = [version.model("a.bin", "weights")]
    realize(version.job(version.folder / "undisturbed"))
    # What is known would not be made again.
    version.cache.checks.rename(version.folder / "forgotten checks")
    version.cache.environments.rename(version.folder / "forgotten environments")
    return snapshot(version.folder / "undisturbed", leave_out=LEFT_OUT)


def test_killed_after_each_script_in_turn_it_continues_and_comes_out_the_same(
    version: Version, undisturbed: dict[str, tuple[int, str, bytes]]
) -> None:
    runner = Runner(job=version.job())
    for layer in LAYERS:
        killed = runner.start(dies_after=layer)
        _, err = killed.communicate()
        assert killed.returncode == -signal.SIGKILL, err
        manifest = load_manifest(version.home)
        assert (manifest is None) == (layer in ENVIRONMENT)
        assert manifest is None or not manifest.complete
    runner.finish()
    assert snapshot(version.home, leave_out=LEFT_OUT) == undisturbed


def test_killed_while_scripts_run_the_next_one_waits_for_them_and_comes_out_the_same(
    version: Version, undisturbed: dict[str, tuple[int, str, bytes]]
) -> None:
    runner = Runner(job=version.job())
    for layer in ("torch", "wheels", "core", "node:painter"):
        killed = runner.start()
        _wait_until_begun(version, layer)
        killed.kill()
        killed.communicate()
    # The last one may have been whole before the kill came.
    assert runner.start().wait() == 0
    assert snapshot(version.home, leave_out=LEFT_OUT) == undisturbed


def test_two_at_once_on_one_home_make_it_once(version: Version) -> None:
    runner = Runner(job=version.job())
    together = [runner.start() for _ in range(2)]
    said = sorted(process.communicate()[0] for process in together)
    assert said == ["False\n", "True\n"]


def test_two_homes_at_once_share_an_empty_cache(version: Version) -> None:
    homes = [version.folder / "one", version.folder / "two"]
    together = [Runner(job=version.job(home)).start() for home in homes]
    said = [process.communicate() for process in together]
    assert [out for out, _ in said] == ["True\n", "True\n"], said
    one, two = (snapshot(home, leave_out=LEFT_OUT) for home in homes)
    assert one == two


def _wait_until_begun(version: Version, layer: str) -> None:
    def is_begun() -> bool:
        if layer in ENVIRONMENT:
            return any(version.cache.tmp.glob(f"*-logs/{layer}.log"))
        manifest = load_manifest(version.home)
        return manifest is not None and layer in manifest.layers

    deadline = time.monotonic() + _DEADLINE_S
    while not is_begun():
        assert time.monotonic() < deadline, f"the layer {layer} was never begun"
        time.sleep(0.005)
