"""What `init` is asked for, and how one of its steps is run."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from comfy_files.progress import Say, say_nothing
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.homes.home import Home
from runpod_comfy.homes.script import run_script

DEFAULT_REPO = "https://github.com/comfyanonymous/ComfyUI.git"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
TORCH_CPU_INDEX_VARIABLE = "TORCH_CPU_INDEX_URL"

InstallTorch = Literal["auto", "cpu", "skip"]


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
