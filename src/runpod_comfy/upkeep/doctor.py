"""`doctor`: whether this machine has what the commands need, and what to do where it has not.

Every check looks for itself, all at the same time, and none waits for long: a network that says
nothing must not keep a person waiting.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from comfy_errors import ComfyError
from comfy_home.output_modes import OUTPUT_MODES
from comfy_http.redaction import without_secrets
from runpod_comfy.cache.paths import Cache
from runpod_comfy.upkeep.answer import Answer, State
from runpod_comfy.upkeep.volumes import look_at_cache, look_at_room, look_for_links

_PATIENCE_S = 4.0
_NOT_FOUND = 404
_NEEDED_GIT = (2, 11)
_NEEDED_PYTHON = (3, 11)
_ROOM_BYTES = 10 * 1000**3
"""A version with PyTorch takes about 7 GB, most of it shared between the cache and its homes."""

Check = Callable[[], list[Answer]]


def examine(
    cache: Cache, home: Path, environment: Mapping[str, str], *, patience_s: float = _PATIENCE_S
) -> list[Answer]:
    """The answers of all checks, in a fixed order. `home` is where versions go, say `~`.

    A check that has not ended after `patience_s` seconds is told as such.
    """
    checks: dict[str, Check] = {
        "python": _python,
        "git": _git,
        "uv": _uv,
        "room": lambda: look_at_room(cache, home, _ROOM_BYTES),
        "links": lambda: look_for_links(cache, home),
        "cache": lambda: look_at_cache(cache),
        "variables": lambda: _variables(environment),
        "index": lambda: _index(patience_s - 0.5),
        "docker": _docker,
        "gpu": _gpu,
    }
    answers: dict[str, list[Answer]] = {}
    threads = [
        threading.Thread(target=_run, args=(name, check, answers), daemon=True)
        for name, check in checks.items()
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + patience_s
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [
        answer for name in checks for answer in answers.get(name) or [_silent(name, patience_s)]
    ]


def is_ready(answers: list[Answer]) -> bool:
    """Whether nothing that is needed is missing."""
    return all(answer.state != "missing" for answer in answers)


def _run(name: str, check: Check, answers: dict[str, list[Answer]]) -> None:
    try:
        answers[name] = check()
    except Exception as error:
        # One check that fails in an unforeseen way must not hide what the others found.
        answers[name] = [
            Answer(
                name=name,
                state="warning",
                found=f"could not be looked at: {type(error).__name__}: {error}",
            )
        ]


def _silent(name: str, patience_s: float) -> Answer:
    state: State = "missing" if name in ("git", "uv") else "warning"
    return Answer(
        name=name, state=state, found=f"no answer within {patience_s:g} s", remedy="Try again."
    )


def _python() -> list[Answer]:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] >= _NEEDED_PYTHON:
        return [Answer(name="python", state="ok", found=f"{found} at {sys.executable}")]
    return [
        Answer(name="python", state="missing", found=found, remedy="Install Python 3.11 or newer.")
    ]


def _git() -> list[Answer]:
    program = shutil.which("git")
    remedy = "Install git 2.11 or newer, and see that it is on the PATH."
    if program is None:
        return [Answer(name="git", state="missing", found="not there", remedy=remedy)]
    said = _first_line([program, "--version"])
    if said is None:
        return [Answer(name="git", state="missing", found=f"{program} fails", remedy=remedy)]
    digits = said.split()[2].split(".") if len(said.split()) > 2 else []
    version = tuple(int(part) for part in digits[:2] if part.isdecimal())
    if version < _NEEDED_GIT:
        return [Answer(name="git", state="missing", found=said, remedy=remedy)]
    return [Answer(name="git", state="ok", found=said.removeprefix("git version "))]


def _uv() -> list[Answer]:
    from runpod_comfy.layers.uv import uv_program

    remedy = "Make the project's environment anew: make venv"
    try:
        said = _first_line([str(uv_program()), "--version"])
    except (ImportError, FileNotFoundError):
        said = None
    if said is None:
        return [Answer(name="uv", state="missing", found="not there", remedy=remedy)]
    return [Answer(name="uv", state="ok", found=said.removeprefix("uv "))]


def _variables(environment: Mapping[str, str]) -> list[Answer]:
    """Variables that name something that is not there, or what no command understands."""
    answers = []
    named = {
        "MODELS_DIR": "folder",
        "GOOGLE_APPLICATION_CREDENTIALS": "file",
        "LOCK_PATH": "file",
    }
    for name, kind in named.items():
        value = environment.get(name)
        if not value:
            continue
        path = Path(value).expanduser()
        if not (path.is_dir() if kind == "folder" else path.is_file()):
            answers.append(
                Answer(
                    name=name,
                    state="warning",
                    found=f"there is no {kind} {path}",
                    remedy=f"Correct {name}, or unset it.",
                )
            )
    for name in ("COMFY_HOME", "COMFY_CACHE_ROOT", "COMFY_CACHE_MODELS"):
        value = environment.get(name)
        if value and Path(value).expanduser().exists() and not Path(value).expanduser().is_dir():
            answers.append(
                Answer(
                    name=name,
                    state="missing",
                    found=f"{value} is not a folder",
                    remedy=f"Correct {name}, or unset it.",
                )
            )
    mode = environment.get("OUTPUT_MODE")
    if mode and mode not in OUTPUT_MODES:
        answers.append(
            Answer(
                name="OUTPUT_MODE",
                state="warning",
                found=f"'{mode}' is no output mode",
                remedy=f"Set it to {' or '.join(OUTPUT_MODES)}, or unset it.",
            )
        )
    return answers or [Answer(name="variables", state="ok", found="nothing that is not there")]


def _docker() -> list[Answer]:
    """The engine that images are built with. Nothing else needs one."""
    from runpod_comfy.images.docker.connection import connect

    try:
        with contextlib.closing(connect()) as client:
            told = client.version()
    except ComfyError as error:
        return [Answer(name="docker", state="optional", found=error.message, remedy=error.remedy)]
    found = f"{told.get('Version')} (API {told.get('ApiVersion')})"
    return [Answer(name="docker", state="ok", found=found)]


def _index(timeout_s: float) -> list[Answer]:
    """The package index that pip is configured for. Not needed where all is cached."""
    import requests

    from comfy_http.client import HttpClient
    from runpod_comfy.sources.index.pip_settings import local_path_of, read_pip_settings

    settings = read_pip_settings()
    if settings.no_index:
        return [Answer(name="index", state="ok", found="pip is told to use none")]
    index = settings.index_urls[0]
    shown = without_secrets(index)
    remedy = (
        "Check the network and pip's configuration (pip config list). "
        "With all in the cache, --offline needs no index."
    )
    if (path := local_path_of(index)) is not None:
        if path.is_dir():
            return [Answer(name="index", state="ok", found=shown)]
        found = f"there is no folder {path}"
        return [Answer(name="index", state="warning", found=found, remedy=remedy)]
    top = f"{index.rstrip('/')}/"
    client = HttpClient(settings=replace(settings, timeout_s=timeout_s), remedy=remedy, retries=0)
    try:
        with client.session() as session:
            # A page of few bytes first; an index of a company's own may have no pip.
            for url in (f"{top}pip/", top):
                with client.get(session, url, stream=True) as answer:
                    status = answer.status_code
                if status != _NOT_FOUND:
                    break
    except (requests.RequestException, OSError) as error:
        found = f"{shown} cannot be reached ({type(error).__name__})"
        return [Answer(name="index", state="warning", found=found, remedy=remedy)]
    if status >= 400:
        found = f"{shown} answers with HTTP {status}"
        return [Answer(name="index", state="warning", found=found, remedy=remedy)]
    return [Answer(name="index", state="ok", found=shown)]


def _gpu() -> list[Answer]:
    if sys.platform == "darwin":
        return [Answer(name="gpu", state="ok", found="Metal, as far as PyTorch supports it")]
    program = shutil.which("nvidia-smi")
    if program:
        query = ["--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        said = _first_line([program, *query])
        if said:
            return [Answer(name="gpu", state="ok", found=said)]
    driver = Path("/proc/driver/nvidia/version")
    if driver.is_file():
        return [
            Answer(
                name="gpu",
                state="warning",
                found="the driver is loaded, but nvidia-smi tells of no GPU",
                remedy="Check that nvidia-smi of the same driver is installed and sees the GPU.",
            )
        ]
    return [
        Answer(
            name="gpu",
            state="optional",
            found="no NVIDIA driver",
            remedy="Without a GPU the engine runs on the CPU (options.comfy_args: --cpu).",
        )
    ]


def _first_line(command: list[str]) -> str | None:
    """The first line that a program says, None if it fails or says nothing for too long."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE_S - 0.5,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.strip().splitlines()
    return lines[0] if done.returncode == 0 and lines else None
