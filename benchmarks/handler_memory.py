"""Target 10: the memory of a handler that waits for jobs, without ComfyUI."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.handlers import Handler
from benchmarks.job_graphs import new_picture
from benchmarks.rows import Row
from tests.runpod_cloud.control_plane import ControlPlane

AT_MOST = 1.0
WHAT = "memory of an idle handler, in that of worker-comfyui's"

_JOBS = 20
_READY_S = 180.0
_IDLE_S = 3.0
_PROC = Path("/proc")

NOTES = (
    f"10: both wait for jobs of RunPod's control plane, which a double plays, after {_JOBS} jobs "
    "each. All processes of a handler count, and ComfyUI is none of them; pages of files count "
    "once, and others that its processes share are divided among them.",
)


def can_measure() -> bool:
    """Linux counts it."""
    return (_PROC / "self/smaps_rollup").exists()


def measure(ours: Handler, theirs: Handler) -> list[Row]:
    """`ours` starts the engine that both use."""
    with ExitStack() as stack:
        idle = [_idle_bytes(handler, stack) for handler in (ours, theirs)]
        time.sleep(_IDLE_S)
        our_bytes, their_bytes = (count() for count in idle)
    ratio = our_bytes / their_bytes
    return [
        Row(
            target=10,
            what=WHAT,
            measured=f"{ratio:.2f}× ({our_bytes / 1e6:.1f} MB, theirs {their_bytes / 1e6:.1f} MB)",
            wanted=f"≤ {AT_MOST:g}×",
            met=ratio <= AT_MOST,
        )
    ]


def _idle_bytes(handler: Handler, stack: ExitStack) -> Callable[[], int]:
    """What counts the memory of `handler`, which has answered jobs and runs until `stack` ends."""
    cloud = stack.enter_context(ControlPlane().served())
    session = stack.enter_context(handler.taking_jobs(cloud.variables("worker")))
    jobs = cloud.send_all({f"job-{one}": {"workflow": new_picture()} for one in range(_JOBS)})
    for job in jobs:
        ended = cloud.result_of(job, within_s=_READY_S)
        if ended.status != "COMPLETED":
            raise handler.program.failure(f"answered {ended.error}")
    return lambda: memory_bytes([fields_of(process) for process in processes_of(session)])


def memory_bytes(processes: Sequence[Mapping[str, int]]) -> int:
    """What processes of one program use, from their `smaps_rollup` in kB: pages of files once, as
    all map the same ones, and other pages that several share in parts.
    """
    own = sum(one["Pss_Anon"] for one in processes)
    files = max(one["Rss"] - one["Anonymous"] for one in processes)
    return (own + files) * 1024


def processes_of(session: int) -> Iterator[int]:
    """The processes of a session, which the engine is not in: it leads one of its own."""
    for folder in _PROC.glob("[0-9]*"):
        try:
            text = (folder / "stat").read_text(encoding="utf-8")
        except OSError:
            continue
        # The name, in parentheses, may have spaces: state, parent, group and session follow it.
        if int(text.rpartition(")")[2].split()[3]) == session:
            yield int(folder.name)


def fields_of(process: int) -> dict[str, int]:
    lines = (_PROC / str(process) / "smaps_rollup").read_text(encoding="utf-8").splitlines()[1:]
    return {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
