"""A thousand jobs on one worker with real ComfyUI: each is answered once, and nothing grows."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.graphs import node
from tests.program import ROOT, Program, start_python
from tests.runpod_cloud.control_plane import CloudJob, ControlPlane

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux counts memory by process")

_WARM_UP, _JOBS = 300, 1000
_ROUND = 10
_CANCELLED_EACH = 100
_SETTLED_S = 2.0


@pytest.fixture(scope="module")
def home(program: Program, place: Path) -> Path:
    """The demo's core without nodes and models."""
    spec = json.loads((ROOT / "versions/demo.json").read_text())
    spec |= {"version_id": "many", "custom_nodes": [], "models": []}
    (place / "versions/many.json").write_text(json.dumps(spec))
    done = program("realize", "many", "--target", place / "many", "--json")
    assert done.code == 0, done.err
    return place / "many"


@contextlib.contextmanager
def worker(cloud: ControlPlane, home: Path, temp: Path) -> Iterator[subprocess.Popen[str]]:
    """Its temporary files are in the folder `temp`."""
    variables = {
        **cloud.variables("pod"),
        "COMFY_HOME": str(home),
        "OUTPUT_MODE": "base64",
        "TMPDIR": str(temp),
        # PyTorch leaves it.
        "TORCHINDUCTOR_CACHE_DIR": str(temp.with_name("inductor")),
        "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
        "RUNPOD_SKIP_GPU_CHECK": "true",
    }
    process = start_python(
        *("-m", "rp_handler.main"),
        variables=variables,
        stdout=sys.stderr,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@dataclass(frozen=True)
class Use:
    """What a worker uses: its own memory without ComfyUI's, and its temporary files."""

    memory_bytes: int
    files: int
    disk_bytes: int
    log_bytes: int


def use_of(process: subprocess.Popen[str], temp: Path) -> Use:
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    (anonymous,) = (line for line in status.splitlines() if line.startswith("RssAnon:"))
    sizes = {path: path.lstat().st_size for path in temp.rglob("*") if not path.is_dir()}
    logs = [size for path, size in sizes.items() if path.suffix == ".log"]
    return Use(
        memory_bytes=int(anonymous.split()[1]) * 1024,
        files=len(sizes),
        disk_bytes=sum(sizes.values()) - sum(logs),
        log_bytes=sum(logs),
    )


def picture(color: int) -> dict[str, Any]:
    size = node("EmptyImage", width=64, height=64, batch_size=1, color=color)
    return {"1": size, "2": node("SaveImage", images=["1", 0], filename_prefix="x")}


def color_of(image: dict[str, Any]) -> int:
    opened = Image.open(io.BytesIO(base64.b64decode(image["data"]))).convert("RGB")
    red, green, blue = opened.getpixel((0, 0))  # type: ignore[misc]
    return int(red) << 16 | int(green) << 8 | int(blue)


def input_of(number: int) -> dict[str, Any]:
    """Of ten jobs one repeats its predecessor, one has a file, one fails, and one is refused."""
    loaded = {"1": node("LoadImage", image="x.png"), "2": picture(0)["2"]}
    match number % _ROUND:
        case 3:
            return {"workflow": picture(number - 1)}
        case 5:
            return {"workflow": loaded, "images": [{"name": "x.png", "image": drawn(number)}]}
        case 7:
            nothing = base64.b64encode(b"no picture %d" % number).decode()
            return {"workflow": loaded, "images": [{"name": "x.png", "image": nothing}]}
        case 9:
            return {"workflow": {"1": node(f"NoSuchNode{number}")}}
        case _:
            return {"workflow": picture(number)}


def drawn(color: int) -> str:
    """A picture of that colour as a client would send it."""
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (color >> 16, color >> 8 & 255, color & 255)).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def check_answer(number: int, job: CloudJob) -> None:
    assert job.deliveries == ["pod"], job
    kind = number % _ROUND
    if kind in (7, 9):
        assert job.status == "FAILED", job
        assert ("UnidentifiedImage" if kind == 7 else f"NoSuchNode{number}") in str(job.error)
        return
    assert job.status == "COMPLETED", job
    (image,) = job.output["images"]
    assert (image["filename"], job.output["warnings"]) == ("x_00001_.png", [])
    assert color_of(image) == (number - 1 if kind == 3 else number)
    if kind == 3:
        assert job.output["timings"]["nodes"] == {}


def long_graph(number: int) -> dict[str, Any]:
    """Many nodes one after the other, between which a run can be stopped."""
    graph = {"0": node("EmptyImage", width=512, height=512, batch_size=1, color=number)}
    for step in range(1, 200):
        blurred = {"image": [str(step - 1), 0], "blur_radius": 31, "sigma": 10.0}
        graph[str(step)] = node("ImageBlur", **blurred)
    return graph | {"end": node("PreviewImage", images=["199", 0])}


def cancel_one(cloud: ControlPlane, number: int) -> None:
    job = cloud.send(f"long-{number}", workflow=long_graph(number))
    cloud.until(lambda: job.deliveries)
    time.sleep(0.3)
    cloud.cancel(job)


def run_jobs(cloud: ControlPlane, numbers: range) -> None:
    """Each hundred of them at once, and then one that is cancelled while it runs."""
    for first in range(numbers.start, numbers.stop, _CANCELLED_EACH):
        some = range(first, min(first + _CANCELLED_EACH, numbers.stop))
        jobs = cloud.send_all({f"job-{number}": input_of(number) for number in some})
        for number, job in zip(some, jobs, strict=True):
            check_answer(number, cloud.result_of(job))
        cancel_one(cloud, first)


def test_a_thousand_jobs_are_each_answered_once_and_nothing_grows(
    home: Path, tmp_path: Path
) -> None:
    temp = tmp_path / "temp"
    temp.mkdir()
    with ControlPlane().served() as cloud, worker(cloud, home, temp) as process:
        run_jobs(cloud, range(_WARM_UP))
        time.sleep(_SETTLED_S)
        before = use_of(process, temp)
        run_jobs(cloud, range(_WARM_UP, _JOBS))
        time.sleep(_SETTLED_S)
        after = use_of(process, temp)
        cancelled = [job for job in cloud.jobs.values() if job.id.startswith("long-")]
        assert [job.ignored for job in cancelled] == [0] * (_JOBS // _CANCELLED_EACH)
    assert after.memory_bytes == pytest.approx(before.memory_bytes, rel=0.05)
    assert after.files == pytest.approx(before.files, abs=3)
    assert after.disk_bytes == pytest.approx(before.disk_bytes, rel=0.05, abs=20_000)
    assert after.log_bytes < 2**20
    assert list(temp.iterdir()) == []
