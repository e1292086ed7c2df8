"""What `init` is asked for, and its environment: made, or taken as it is, with ComfyUI's
requirements.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal
from urllib.parse import urlsplit

from comfy_errors import InvalidInputError, UnavailableError
from comfy_files.progress import Say, say_nothing
from comfy_files.space import disk_of, require_room
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.homes.home import Home
from runpod_comfy.homes.script import run_script
from runpod_comfy.lock.python.torch_family import FAMILY
from runpod_comfy.lock.requirements.read import name_of, requirements_of_core
from runpod_comfy.sources.index.pip_settings import (
    outside_variables,
    read_pip_settings,
    uv_program,
    uv_variables,
)

DEFAULT_REPO = "https://github.com/comfyanonymous/ComfyUI.git"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
TORCH_CPU_INDEX_VARIABLE = "TORCH_CPU_INDEX_URL"

InstallTorch = Literal["auto", "cpu", "skip"]
# What PyTorch takes unpacked, at least: with the libraries of CUDA, and for CPUs alone.
_LEAST_CUDA_BYTES, _LEAST_CPU_BYTES = 4_000_000_000, 500_000_000
_CACHED_TORCH = ("wheels-v*/pypi/torch", "wheels-v*/index/*/torch")


@dataclass(frozen=True, kw_only=True)
class Initialization:
    """What `init` is asked for. `venv` None means `.venv` in the home, `repo` None ComfyUI's own,
    `ref` None the default branch, `python` None `python3`; a relative `repo` is from `base_dir`.
    Output of uv goes to `show` as it comes.
    """

    path: Path
    repo: str | None = None
    ref: str | None = None
    venv: Path | None = None
    install_torch: InstallTorch = "skip"
    python: str | None = None
    cache: Cache
    base_dir: Path
    say: Say = say_nothing
    show: BinaryIO | None = None

    @property
    def home(self) -> Home:
        return Home(root=self.path.absolute())

    @property
    def environment(self) -> Path:
        return (self.venv or self.home.venv).absolute()

    @property
    def fetch_context(self) -> FetchContext:
        return FetchContext(cache=self.cache, base_dir=self.base_dir, say=self.say)

    @property
    def torch_index(self) -> str | None:
        """The index for the torch family only; None if the default builds are right."""
        if self.install_torch == "skip" or sys.platform != "linux":
            return None
        return os.environ.get(TORCH_CPU_INDEX_VARIABLE) or TORCH_CPU_INDEX


def run_step(
    title: str,
    command: Sequence[str],
    variables: Mapping[str, str],
    job: Initialization,
    lock_fds: Sequence[int],
) -> None:
    """Runs a command whose output goes to a log in the home, called by the last word of `title`.

    Raises what `run_script` raises.
    """
    run_script(
        command,
        title=title,
        environment=variables,
        log=job.home.logs / f"{title.split()[1]}.log",
        show=job.show,
        keep_open=lock_fds,
    )


def refuse_another_python(job: Initialization, interpreter: Path) -> None:
    if job.python is None:
        return
    asked, there = (_minor(python) for python in (interpreter, job.environment / "bin" / "python"))
    if there == "0":
        raise InvalidInputError(
            f"{job.environment} has no working Python",
            remedy="Remove it, or name another folder with --venv or --path.",
        )
    if asked != there:
        raise InvalidInputError(
            f"{job.environment} has Python {there}, and {interpreter} is Python {asked}",
            remedy="Leave out --python, or name another folder with --venv or --path.",
        )


def _minor(python: Path) -> str:
    """`3.11`; `0` for what is no Python."""
    question = "import sys; print(*sys.version_info[:2], sep='.')"
    try:
        answer = subprocess.run([python, "-I", "-c", question], capture_output=True, check=False)
    except OSError:
        return "0"
    return answer.stdout.decode().strip() if answer.returncode == 0 else "0"


def is_environment(folder: Path) -> bool:
    return (folder / "pyvenv.cfg").is_file()


def has_torch(environment: Path) -> bool:
    """Whether PyTorch is in a virtual environment."""
    return any(environment.glob("lib/python3*/site-packages/torch-*.dist-info"))


def find_interpreter(python: str) -> Path:
    found = shutil.which(python)
    if found is None:
        raise UnavailableError(
            f"there is no Python interpreter {python}",
            remedy="Install it, or name another one with --python.",
        )
    if tuple(map(int, _minor(Path(found)).split("."))) < (3, 9):
        raise UnavailableError(
            f"{found} is not a working Python 3.9 or newer, which ComfyUI needs",
            remedy="Name another one with --python.",
        )
    return Path(found)


def refuse_foreign_environment(job: Initialization) -> None:
    """An existing environment is used; any other folder is left alone."""
    venv = job.environment
    if venv.exists() and any(venv.iterdir()) and not is_environment(venv):
        raise InvalidInputError(
            f"{venv} already exists and is not a virtual environment",
            remedy="Name another folder with --venv.",
        )


def require_index(index: str) -> None:
    """Raises UnavailableError, before anything is made, unless the index answers for torch."""
    import requests

    from comfy_http.client import HttpClient

    url = f"{index.rstrip('/')}/torch/"
    if urlsplit(url).scheme not in ("http", "https"):
        return
    client = HttpClient(
        settings=read_pip_settings(),
        remedy="PyTorch's CPU builds come from there: use --install-torch skip and install torch "
        f"yourself, or set {TORCH_CPU_INDEX_VARIABLE} to a mirror.",
    )
    try:
        with client.session() as session:
            client.send(session, "GET", url).raise_for_status()
    except (requests.RequestException, OSError) as error:
        raise client.unreachable(url, error) from error


def make_environment(job: Initialization, interpreter: Path, lock_fds: Sequence[int]) -> None:
    """Makes it from nothing: one that was cut short may hold half a package."""
    make = ["venv", "--quiet", "--no-project", "--clear", "--python", str(interpreter)]
    command = [str(uv_program()), *make, str(job.environment)]
    run_step("making environment", command, _uv_variables(job), job, lock_fds)


def _uv_variables(job: Initialization) -> dict[str, str]:
    variables = {
        **outside_variables(),
        "UV_CACHE_DIR": str(job.cache.uv),
        # This environment is the user's to change, and uv's cache must not change with it.
        "UV_LINK_MODE": "copy",
        **uv_variables(read_pip_settings(), os.environ),
    }
    # A variable that makes uv ignore a package's own index would get torch from the default one.
    variables.pop("UV_NO_SOURCES", None)
    return variables


def install_requirements(job: Initialization, lock_fds: Sequence[int]) -> None:
    variables = _uv_variables(job)
    no_index = ["--no-index"] if variables.get("NO_INDEX") == "1" else []
    with tempfile.TemporaryDirectory(prefix="runpod-comfy-init-") as folder:
        python = str(job.environment / "bin" / "python")
        asked = _requirement_files(job, Path(folder))
        install = [str(uv_program()), "pip", "install", "--python", python, *no_index, *asked]
        run_step("installing requirements", install, variables, job, lock_fds)


def _require_space(job: Initialization) -> None:
    """Raises OperationFailedError if PyTorch alone would not fit, where it has to be fetched."""
    with_cuda = sys.platform == "linux" and not job.torch_index
    size_bytes = _LEAST_CUDA_BYTES if with_cuda else _LEAST_CPU_BYTES
    needs: list[tuple[Path, float]] = []
    if not [found for pattern in _CACHED_TORCH for found in job.cache.uv.glob(pattern)]:
        needs.append((job.cache.uv, size_bytes))
    if disk_of(job.environment) != disk_of(job.cache.uv):
        needs.append((job.environment, size_bytes))
    require_room(
        needs, remedy="Free some space, or use other folders with --path and COMFY_CACHE_ROOT."
    )


def _requirement_files(job: Initialization, folder: Path) -> list[str]:
    """uv's options for the core's requirements, with the torch family as `--install-torch` says."""
    requirements = requirements_of_core(job.home.comfyui, say=job.say)
    files = ["--requirements", _write(folder / "requirements.txt", requirements)]
    if job.install_torch == "skip":
        # Also excluded if another package, such as torchsde, requires it.
        never = [f"{name} ; sys_platform == 'never'" for name in FAMILY]
        return [*files, "--overrides", _write(folder / "overrides.txt", never)]
    wants_torch = bool(job.torch_index) or "torch" in map(name_of, requirements)
    if wants_torch and not has_torch(job.environment):
        _require_space(job)
    if job.torch_index:
        project = [
            "[project]",
            "name = 'torch-family'",
            "version = '0'",
            f"dependencies = {list(FAMILY)}",
            "[[tool.uv.index]]",
            "name = 'torch-cpu'",
            f"url = '{job.torch_index}'",
            "explicit = true",
            "[tool.uv.sources]",
            *(f"{name} = {{ index = 'torch-cpu' }}" for name in FAMILY),
        ]
        return [*files, "--requirements", _write(folder / "pyproject.toml", project)]
    return files


def _write(path: Path, lines: Sequence[str]) -> str:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)
