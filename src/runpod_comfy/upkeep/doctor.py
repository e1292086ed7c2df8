"""`doctor`: checks that this machine has what the commands need, and says what to do if not.

The checks are independent and run in parallel, each with a short timeout: a silent network must not
keep a user waiting.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from comfy_errors import ComfyError
from comfy_errors.names import listed, quantity
from comfy_files.files import children, nearest_existing, os_reason
from comfy_files.progress import readable_size
from comfy_files.space import share_blocks
from comfy_files.user_paths import expanded
from comfy_home.output_modes import OUTPUT_MODES
from comfy_http.redaction import without_secrets
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.roots import read_roots

_PATIENCE_S, _ANSWER_S = 4.0, 3.5
_NOT_FOUND = 404
_NEEDED_GIT = (2, 11)
_NEEDED_PYTHON = (3, 11)
_ROOM_BYTES = 10 * 1000**3
"""A version with PyTorch takes about 7 GB, most of it shared between the cache and its homes."""
_CHECK_CACHE = "Check its permissions, or set COMFY_CACHE_ROOT to another folder."
_CHECK_HOME = (
    "Check its permissions, or name another place for versions with COMFY_HOME or --target."
)


State = Literal["ok", "missing", "optional", "warning"]


@dataclass(frozen=True)
class Answer:
    """The result of a check. `state` is `ok`, `missing` for something required, `optional` for
    something absent but not required, or `warning` for something that works but could be better.
    `remedy` is what to do.
    """

    name: str
    state: State
    found: str
    remedy: str = ""


def examine(
    cache: Cache,
    home: Path,
    environment: Mapping[str, str],
    *,
    only: Collection[str] | None = None,
) -> list[Answer]:
    """The results of all checks, or of those `only`, in a fixed order. `home` is where versions go,
    say `~`.

    A check that has not finished after a few seconds is reported as such.
    """
    checks: dict[str, Callable[[], Iterator[Answer]]] = {
        "python": _python,
        "git": _git,
        "uv": _uv,
        "room": lambda: _room(cache, home),
        "links": lambda: _links(cache, home, environment),
        "cache": lambda: _cache(cache, environment),
        "variables": lambda: _variables(environment),
        "index": _index,
        "docker": _docker,
        "gpu": _gpu,
    }
    checks = {name: run for name, run in checks.items() if only is None or name in only}
    answers: dict[str, list[Answer]] = {}

    def run(name: str) -> None:
        try:
            answers[name] = list(checks[name]())
        except Exception as error:
            # An unexpected failure of one check must not hide the results of the others.
            found = f"check failed: {type(error).__name__}: {os_reason(error)}"
            answers[name] = [Answer(name, "warning", found)]

    threads = [threading.Thread(target=run, args=(name,), daemon=True) for name in checks]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + _PATIENCE_S
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    found = []
    for name in checks:
        state: State = "missing" if name in ("git", "uv") else "warning"
        silent = Answer(name, state, f"no answer within {_PATIENCE_S:g} s", "Try again.")
        found += answers.get(name, [silent])
    return found


def is_ready(answers: list[Answer]) -> bool:
    """True if nothing required is missing."""
    return all(answer.state != "missing" for answer in answers)


def _python() -> Iterator[Answer]:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] >= _NEEDED_PYTHON:
        yield Answer("python", "ok", f"{found} at {sys.executable}")
    else:
        yield Answer("python", "missing", found, "Install Python 3.11 or newer.")


def _git() -> Iterator[Answer]:
    program = shutil.which("git")
    said = _first_line([program, "--version"]) if program else None
    digits = said.split()[2].split(".") if said and len(said.split()) > 2 else []
    if said and tuple(int(part) for part in digits[:2] if part.isdecimal()) >= _NEEDED_GIT:
        yield Answer("git", "ok", said.removeprefix("git version "))
    else:
        found = said or (f"{program} fails" if program else "not there")
        remedy = "Install git 2.11 or newer, and make sure it is on the PATH."
        yield Answer("git", "missing", found, remedy)


def _uv() -> Iterator[Answer]:
    from runpod_comfy.sources.index.pip_settings import uv_program

    said = None
    with contextlib.suppress(ImportError, FileNotFoundError):
        said = _first_line([str(uv_program()), "--version"])
    if said:
        yield Answer("uv", "ok", said.removeprefix("uv "))
    else:
        remedy = "Install runpod-comfy again (in a clone: make venv)."
        yield Answer("uv", "missing", "not there", remedy)


def _room(cache: Cache, home: Path) -> Iterator[Answer]:
    """The free space of each volume that a version uses."""
    seen: set[int] = set()
    for name, path in (
        ("space for the cache", cache.root),
        ("space for homes", home),
        ("space for models", cache.models),
    ):
        place = _nearest_folder(path)
        device = place.stat().st_dev
        if device in seen:
            continue
        seen.add(device)
        free = shutil.disk_usage(place).free
        found = f"{readable_size(free)} free at {place}"
        remedy = (
            f"A version with PyTorch takes about {readable_size(_ROOM_BYTES)}: free some space "
            "(runpod-comfy gc), or move the cache with COMFY_CACHE_ROOT."
        )
        enough = free >= _ROOM_BYTES
        yield Answer(name, "ok", found) if enough else Answer(name, "warning", found, remedy)


def _links(cache: Cache, home: Path, environment: Mapping[str, str]) -> Iterator[Answer]:
    """Which kinds of links work from the cache to the homes."""
    source, target = _nearest_folder(cache.root), _nearest_folder(home)
    for place, variable, remedy in (
        (source, "COMFY_CACHE_ROOT", _CHECK_CACHE),
        (target, "COMFY_HOME", _CHECK_HOME),
    ):
        if not _takes_files(place):
            if environment.get(variable) or environment.get("HOME"):
                yield Answer("links", "missing", f"{place} cannot be written", remedy)
            else:
                found = f"is not set, and {place} cannot be written"
                yield Answer("HOME", "missing", found, "Set HOME to a folder of your own.")
            return
    with (
        tempfile.TemporaryDirectory(dir=source, prefix=".doctor-") as from_folder,
        tempfile.TemporaryDirectory(dir=target, prefix=".doctor-") as to_folder,
    ):
        probe, to = Path(from_folder) / "probe", Path(to_folder)
        probe.write_bytes(b"probe" * 1000)
        attempts: dict[str, Callable[[], object]] = {
            "hard links": lambda: (to / "hard").hardlink_to(probe),
            "symbolic links": lambda: (to / "soft").symlink_to(probe),
            "shared blocks": lambda: share_blocks(probe, to / "clone"),
        }
        works = []
        for name, attempt in attempts.items():
            with contextlib.suppress(OSError):
                attempt()
                works.append(name)
    found = ", ".join([*works, *(f"no {name}" for name in attempts if name not in works)])
    if {"hard links", "symbolic links"} <= set(works):
        yield Answer("links", "ok", found)
        return
    if source.stat().st_dev != target.stat().st_dev:
        found = f"{source} and {target} are on different file systems; {found}"
    remedy = (
        "Files are copied instead, which takes more space and time. Put COMFY_CACHE_ROOT on the "
        "file system of the homes."
    )
    yield Answer("links", "warning", found, remedy)


def _cache(cache: Cache, environment: Mapping[str, str]) -> Iterator[Answer]:
    """Whether the cache is usable: a quick check, not a verification."""
    there = nearest_existing(cache.root)
    if not there.is_dir():
        # A file that the variable names is reported with it.
        if there != cache.root or not environment.get("COMFY_CACHE_ROOT"):
            remedy = "Set COMFY_CACHE_ROOT to another folder."
            yield Answer("cache", "missing", f"{there} is not a folder", remedy)
        return
    if not cache.root.is_dir():
        yield Answer("cache", "ok", f"{cache.root} does not exist yet")
        return
    if not os.access(cache.root, os.W_OK):
        found = f"{cache.root} is not writable: only its current content can be used"
        yield Answer("cache", "warning", found, _CHECK_CACHE)
        return
    trees = (path for path in children(cache.trees) if path.is_dir())
    lost = [path for path in trees if not path.with_name(f"{path.name}.json").is_file()]
    if lost:
        remedy = "These trees lack their record: remove them, and they will be fetched again."
        yield Answer("cache", "warning", listed([str(path) for path in lost], at_most=3), remedy)
        return
    roots = quantity(len(read_roots(cache)), "lock or folder", "locks and folders")
    leftovers = len([path for path in children(cache.tmp) if path.suffix != ".lock"])
    found = f"{cache.root}, needed by {roots}"
    if leftovers:
        # Running commands have temporary files there too.
        unfinished = quantity(leftovers, "unfinished entry", "unfinished entries")
        found += f", {unfinished} (gc clears leftovers)"
    yield Answer("cache", "ok", found)


def _variables(environment: Mapping[str, str]) -> Iterator[Answer]:
    """Variables that name something that does not exist, or have an invalid value."""
    answers = []

    def path_of(name: str) -> Path | None:
        return expanded(value) if (value := environment.get(name)) else None

    for name, kind in (
        ("MODELS_DIR", "folder"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "file"),
        ("LOCK_PATH", "file"),
    ):
        path = path_of(name)
        if path and not (path.is_dir() if kind == "folder" else path.is_file()):
            remedy = f"Correct {name}, or unset it."
            answers.append(Answer(name, "warning", f"there is no {kind} {path}", remedy))
    for name in ("COMFY_HOME", "COMFY_CACHE_ROOT", "COMFY_CACHE_MODELS"):
        path = path_of(name)
        if path and path.exists() and not path.is_dir():
            found = f"{environment[name]} is not a folder"
            answers.append(Answer(name, "missing", found, f"Correct {name}, or unset it."))
    mode = environment.get("OUTPUT_MODE")
    if mode and mode not in OUTPUT_MODES:
        remedy = f"Set it to {' or '.join(OUTPUT_MODES)}, or unset it."
        answers.append(Answer("OUTPUT_MODE", "warning", f"'{mode}' is not an output mode", remedy))
    yield from answers or [Answer("variables", "ok", "everything they name exists")]


def _docker() -> Iterator[Answer]:
    """The Docker engine that images are built with. Nothing else needs one."""
    from runpod_comfy.images.docker.connection import UnusableEngineError, connect

    try:
        with contextlib.closing(connect()) as client:
            told = client.version()
    except UnusableEngineError as error:
        yield Answer("docker", "warning", f"no image can be built: {error.message}", error.remedy)
    except ComfyError as error:
        yield Answer("docker", "optional", error.message, error.remedy)
    else:
        engine = f"{told.get('Version')} (API {told.get('ApiVersion')})"
        yield Answer("docker", "ok", f"{engine}, with BuildKit")


def _index() -> Iterator[Answer]:
    """The package index that pip is configured for. Not needed if everything is cached."""
    import requests

    from comfy_http.client import HttpClient
    from runpod_comfy.sources.index.pip_settings import local_path_of, read_pip_settings

    settings = read_pip_settings()
    if settings.no_index:
        yield Answer("index", "ok", "pip is configured to use no index")
        return
    index = settings.index_urls[0]
    shown = without_secrets(index)
    remedy = (
        "Check the network and pip's configuration (pip config list). "
        "If everything is cached, --offline needs no index."
    )
    problem = ""
    if (path := local_path_of(index)) is not None:
        problem = "" if path.is_dir() else f"there is no folder {path}"
    else:
        top = f"{index.rstrip('/')}/"
        patient = replace(settings, timeout_s=_ANSWER_S)
        client = HttpClient(settings=patient, remedy=remedy, retries=0)
        try:
            with client.session() as session:
                # A small page first; a private index may not have pip.
                for url in (f"{top}pip/", top):
                    with client.send(session, "GET", url, stream=True) as answer:
                        status = answer.status_code
                    if status != _NOT_FOUND:
                        break
            problem = f"{shown} answers with HTTP {status}" if status >= 400 else ""
        except (requests.RequestException, OSError) as error:
            problem = f"{shown} cannot be reached ({type(error).__name__})"
    if problem:
        yield Answer("index", "warning", problem, remedy)
    else:
        yield Answer("index", "ok", shown)


def _gpu() -> Iterator[Answer]:
    if sys.platform == "darwin":
        yield Answer("gpu", "ok", "Metal, as far as PyTorch supports it")
        return
    program = shutil.which("nvidia-smi")
    query = ["--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    if program and (said := _first_line([program, *query])):
        yield Answer("gpu", "ok", said)
    elif Path("/proc/driver/nvidia/version").is_file():
        found = "the driver is loaded, but nvidia-smi reports no GPU"
        remedy = "Check that the driver's own nvidia-smi is installed and sees the GPU."
        yield Answer("gpu", "warning", found, remedy)
    else:
        remedy = "Without a GPU the engine runs on the CPU (options.comfy_args: --cpu)."
        yield Answer("gpu", "optional", "no NVIDIA driver", remedy)


def _first_line(command: list[str]) -> str | None:
    """The first line of a program's output, None if it fails or takes too long."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_ANSWER_S,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.strip().splitlines()
    return lines[0] if done.returncode == 0 and lines else None


def _takes_files(folder: Path) -> bool:
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".doctor-"):
            return True
    except OSError:
        return False


def _nearest_folder(path: Path) -> Path:
    """What is not a folder is reported with the variable that names it."""
    place = nearest_existing(path)
    return place if place.is_dir() else place.parent
