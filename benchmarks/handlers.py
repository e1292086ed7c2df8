"""Handlers of RunPod's jobs as contestants, ours and worker-comfyui's own, on one engine.

Ours starts the engine, so it starts first.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from benchmarks.job_graphs import Answer, Graph
from benchmarks.ours import Ours
from benchmarks.processes import Program, free_port, is_listening
from benchmarks.scratch import Scratch
from benchmarks.variables import plain_variables
from benchmarks.worker_image import FILES
from comfy_errors import UnavailableError
from runpod_comfy.cache.paths import Cache
from runpod_comfy.project import PACKAGES
from runpod_comfy.sources.index.pip_settings import read_pip_settings, uv_environment, uv_program

OURS, THEIRS = "ours", "worker-comfyui"
REPOSITORY = "https://github.com/runpod-workers/worker-comfyui"

_HOST = "127.0.0.1"
_READY_S = 180
_POLL_S = 0.05
_CHECKS = ("RUNPOD_SKIP_AUTO_SYSTEM_CHECKS", "RUNPOD_SKIP_GPU_CHECK")


@dataclass(frozen=True, kw_only=True)
class Handler:
    """A handler of RunPod's jobs, not yet started."""

    name: str
    program: Program

    @contextlib.contextmanager
    def serving(self) -> Iterator[Callable[[Graph], Answer]]:
        """Started behind the SDK's local API: what posts a job there."""
        port = free_port()
        arguments = ("--rp_serve_api", "--rp_api_host", _HOST, "--rp_api_port", str(port))
        with self.program.running(*arguments) as process:
            self._wait(lambda: is_listening(port), process.poll)
            connection = http.client.HTTPConnection(_HOST, port)
            try:
                yield lambda graph: self._answer(connection, graph)
            finally:
                connection.close()

    @contextlib.contextmanager
    def taking_jobs(self, variables: Mapping[str, str]) -> Iterator[int]:
        """Started with the `variables` that the platform gives a worker: its process id."""
        program = replace(self.program, variables={**self.program.variables, **variables})
        with program.running() as process:
            yield process.pid

    def _answer(self, connection: http.client.HTTPConnection, graph: Graph) -> Answer:
        body = json.dumps({"input": {"workflow": graph}})
        connection.request("POST", "/runsync", body, {"Content-Type": "application/json"})
        document = json.load(connection.getresponse())
        if document["status"] != "COMPLETED":
            raise self.program.failure(f"answered {document}")
        output = document["output"]
        timings = output.get("timings")
        ran = None if timings is None else frozenset(timings["nodes"])
        return Answer(images=[one["data"] for one in output["images"]], ran=ran)

    def _wait(self, is_ready: Callable[[], bool], ended: Callable[[], int | None]) -> None:
        began = time.monotonic()
        while not is_ready():
            if ended() is not None or time.monotonic() - began > _READY_S:
                raise self.program.failure("did not become ready")
            time.sleep(_POLL_S)


def our_handler(scratch: Scratch, *, engine_port: int) -> Handler:
    """Ours, in a new home of the demo, whose engine listens on `engine_port`."""
    home, folder = scratch.new("home"), scratch.new("our-handler")
    folder.mkdir()
    ours = Ours(workspace=PACKAGES.parent, cache=Cache.from_environment().root)
    realizing = replace(ours.program, log=folder / "realize.log")
    realizing.seconds("realize", "demo", "--target", home)
    program = Program(
        command=(
            *(sys.executable, "-m", "rp_handler.main", "--version-id", "demo"),
            *("--home", str(home), "--port", str(engine_port), "--output", "base64"),
        ),
        variables={**plain_variables(), "PYTHONPATH": str(PACKAGES), **_unchecked()},
        folder=folder,
        log=folder / "ours.log",
    )
    return Handler(name=OURS, program=program)


def their_handler(scratch: Scratch, repository: Path, *, engine_port: int) -> Handler:
    """worker-comfyui's own handler from its `repository`, in a new environment with the packages of
    its Dockerfile, and our version of RunPod's SDK.
    """
    folder = scratch.new("their-handler")
    folder.mkdir()
    environment = folder / "venv"
    uv = Program(
        command=(str(uv_program()),),
        variables={**plain_variables(), **uv_environment(read_pip_settings())},
        folder=folder,
        log=folder / "uv.log",
    )
    base = getattr(sys, "_base_executable", sys.executable)
    python = environment / "bin" / "python"
    uv.seconds("venv", "--no-project", "--python", os.fspath(base), environment)
    uv.seconds(
        *("pip", "install", "--python", python, "--compile-bytecode"),
        *("--index-strategy", "unsafe-best-match"),
        *(f"runpod=={version('runpod')}", "requests", "websocket-client"),
    )
    engine = f"{_HOST}:{engine_port}"
    program = Program(
        command=(str(python), str(FILES / "own_handler.py"), str(repository), engine),
        # As its image has it.
        variables={**plain_variables(), "PYTHONUNBUFFERED": "1", **_unchecked()},
        folder=folder,
        log=folder / "theirs.log",
    )
    return Handler(name=THEIRS, program=program)


def check_repository(repository: Path) -> None:
    """Raises UnavailableError if worker-comfyui is not checked out there."""
    if not (repository / "handler.py").is_file():
        raise UnavailableError(
            f"worker-comfyui is not at {repository}, so nothing is measured beside its handler",
            remedy=f"Run: git clone {REPOSITORY} {repository}; or name its folder with --worker.",
        )


def _unchecked() -> dict[str, str]:
    """The SDK's checks of the machine at its start are left out."""
    return {**dict.fromkeys(_CHECKS, "true"), "RUNPOD_LOG_LEVEL": "INFO"}
