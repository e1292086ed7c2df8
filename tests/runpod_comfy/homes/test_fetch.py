"""Everything at once: what is found in the cache, and how one error ends the rest."""

from __future__ import annotations

import dataclasses
import pickle
import signal
import subprocess
import time
from pathlib import Path

import pytest

from comfy_errors import ComfyError, OperationFailedError, UnavailableError
from runpod_comfy.homes.run import realize
from runpod_comfy.homes.verify.home import verify
from runpod_comfy.lock.model import Distribution
from tests.locks import locked_file
from tests.package_index import make_sdist
from tests.program import start_python, write_program
from tests.runpod_comfy.homes.conftest import Version, imports


def _stalling_uv(folder: Path) -> Path:
    return write_program(folder / "uv", "exec sleep 600\n")


def test_the_first_error_ends_the_rest_and_is_the_one_that_is_reported(
    version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    uv = _stalling_uv(version.folder)
    monkeypatch.setattr("runpod_comfy.homes.script.uv_program", lambda: uv)
    version.models = [version.model("a.bin", "weights")]
    job = dataclasses.replace(version.job(), wheels_dir=None)
    (version.folder / "a.bin").unlink()
    started = time.monotonic()
    with pytest.raises(UnavailableError, match=r"a\.bin"):
        realize(job)
    assert time.monotonic() - started < 300
    assert not (version.home).exists()


def test_trees_come_with_bytecode_that_the_home_shares_byte_for_byte(version: Version) -> None:
    realize(version.job())
    (kept,) = [entry for entry in version.cache.compiled.iterdir() if (entry / "main.py").exists()]
    bytecode = next(kept.rglob("main.*.pyc"))
    placed = version.folder / "home/ComfyUI/__pycache__" / bytecode.name
    assert placed.read_bytes() == bytecode.read_bytes()
    before = {path: path.stat().st_mtime_ns for path in kept.rglob("*.pyc")}
    realize(version.job(version.folder / "two"))
    assert {path: path.stat().st_mtime_ns for path in kept.rglob("*.pyc")} == before


def test_a_store_of_models_that_cannot_be_written_is_reported_with_the_variable_that_names_it(
    version: Version,
) -> None:
    version.models = [version.model("a.bin", "weights")]
    taken = version.write("taken", "a file")
    version.cache = dataclasses.replace(version.cache, models_root=taken / "store")
    with pytest.raises(OperationFailedError, match="the model store .* not a directory") as caught:
        realize(version.job())
    assert "COMFY_CACHE_MODELS" in caught.value.remedy


def test_only_what_is_fetched_is_called_so(version: Version) -> None:
    said: list[str] = []
    realize(version.job(say=said.append))
    fetching = [line for line in said if line.startswith("Fetching")]
    assert [line.split(" ")[1] for line in sorted(fetching)] == ["2", "core:", "node:painter:"]
    said.clear()
    realize(version.job(version.folder / "two", say=said.append))
    assert not [line for line in said if "Fetching" in line]


def test_logs_of_a_layer_that_failed_stay_and_are_named(
    version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    uv = write_program(version.folder / "uv", "echo no such luck\nexit 1\n")
    monkeypatch.setattr("runpod_comfy.homes.script.uv_program", lambda: uv)
    with pytest.raises(ComfyError, match="no such luck") as caught:
        realize(dataclasses.replace(version.job(), wheels_dir=None))
    log = caught.value.remedy.split("The whole output is in ")[1].split(". ")[0]
    assert "no such luck" in Path(log).read_text()
    assert not (version.home).exists()


def test_environments_with_the_same_last_layer_have_logs_of_their_own(
    version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the two may be made at any moment, and takes its logs away when it is whole."""
    uv = write_program(version.folder / "uv", "exit 1\n")
    with monkeypatch.context() as patch:
        patch.setattr("runpod_comfy.homes.script.uv_program", lambda: uv)
        with pytest.raises(ComfyError):
            realize(dataclasses.replace(version.job(), wheels_dir=None))
    logs = list(version.cache.tmp.glob("*-logs/*.log"))
    assert logs
    version.torch = [version.wheel("torchlike", "2.0")]
    realize(version.job())
    assert list(version.cache.tmp.glob("*-logs/*.log")) == logs


_PROGRAM = """
import pickle, sys
from pathlib import Path
from runpod_comfy.homes import run, script
script.uv_program = lambda: Path(sys.argv[2])
with open(sys.argv[1], "rb") as stream:
    job = pickle.load(stream)
run.realize(job)
"""


def test_ctrl_c_ends_everything_that_was_started(version: Version) -> None:
    script = f"echo $$ >>{version.folder / 'started'}\nexec sleep 600\n"
    uv = write_program(version.folder / "uv", script)
    pickled = version.folder / "job.pickle"
    pickled.write_bytes(pickle.dumps(dataclasses.replace(version.job(), wheels_dir=None)))
    process = start_python("-c", _PROGRAM, pickled, uv, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not _lines(version.folder / "started"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=300) != 0
    assert not [pid for pid in _lines(version.folder / "started") if _runs(pid)]
    assert not [path for path in version.cache.tmp.iterdir() if path.name.startswith("env")]


def _runs(pid: str) -> bool:
    """Whether a process is there and has not ended; a zombie has ended."""
    told = subprocess.run(
        ["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True, check=False
    )
    return bool(told.stdout.strip()) and not told.stdout.strip().startswith("Z")


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _source_only(version: Version, source: str) -> None:
    """The version's one package is a source distribution whose build runs `source`."""
    version.wheel("helper", "1.0")
    sdist = make_sdist(version.wheels_dir, "needy", "1.0", source=source)
    version.wheels = [Distribution(name="needy", version="1.0", files=[locked_file(sdist)])]


def test_a_source_distribution_is_built_with_what_the_lock_says(version: Version) -> None:
    _source_only(version, "import helper")
    with pytest.raises(ComfyError) as caught:
        realize(version.job())
    assert '"options": {"build_requirements": {"needy": ["helper"]}}' in caught.value.message
    python = version.lock().python
    version.changes["python"] = python.model_copy(
        update={"build_requirements": {"needy": ["helper"]}}
    )
    job = version.job()
    realize(job)
    assert imports(job.home.root, "needy")
    assert verify(job).faults == []


def test_a_source_distribution_that_needs_a_compiler_says_so_before_any_work(
    version: Version,
) -> None:
    _source_only(version, "import subprocess; subprocess.run(['some-linux-gnu-gcc'], check=True)")
    with pytest.raises(ComfyError) as caught:
        realize(version.job())
    assert "apt-get install build-essential" in caught.value.message
    assert not (version.home).exists()
