"""comfy-cli as a contestant: `comfy install --fast-deps`, which installs with uv.

It is given what ours has: the same indexes, the same repository, and the same versions of all
packages, as uv's constraints. ComfyUI-Manager, telemetry and questions are left out.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.material import Material
from benchmarks.processes import Program, free_port
from benchmarks.variables import plain_variables, variables_in_home
from runpod_comfy.sources.index.pip_settings import read_pip_settings, uv_environment, uv_program

VERSION = "1.23.0"
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class ComfyCli:
    """`tool` is the environment that it lies in, `caches` the folder of its home, uv's and pip's
    cache."""

    material: Material
    tool: Path
    caches: Path

    def install(self, workspace: Path) -> float:
        """A new installation at `workspace`, which does not exist yet."""
        where = ("--url", self.material.repository.url, "--version", "nightly")
        seconds = self._program(workspace).seconds(
            *("install", *where, "--commit", self.material.commit),
            *("--cpu", "--fast-deps", "--skip-manager"),
        )
        self._add_missing(workspace)
        return seconds

    def start(self, workspace: Path, then: Callable[[int], None] | None = None) -> float:
        """Until the engine answers, and until `then` of its port returns."""
        port = free_port()
        return self._program(workspace).seconds_until_ready(
            *("launch", "--", "--cpu", "--disable-auto-launch"),
            *("--listen", _LOOPBACK, "--port", str(port)),
            port=port,
            then=then,
        )

    def _add_missing(self, workspace: Path) -> None:
        """Without this ComfyUI 0.3.75 does not start: it imports `requests`, which its requirements
        do not name, and our copy of the release has a stray file. Its time is left out."""
        (workspace / "extra_model_paths.yaml").unlink(missing_ok=True)
        python = workspace / ".venv" / "bin" / "python"
        uv = Program(
            command=(str(uv_program()), "pip", "install", "--python", str(python)),
            variables=self.variables,
            folder=self.caches,
            log=self.caches / "added.log",
        )
        uv.seconds("--index-strategy", "unsafe-best-match", "requests")

    def _program(self, workspace: Path) -> Program:
        return Program(
            command=(
                str(self.tool / "bin" / "comfy"),
                *("--no-json", "--skip-prompt", "--workspace", str(workspace)),
            ),
            variables=self.variables,
            folder=self.caches,
            log=self.caches / "comfy-cli.log",
        )

    @property
    def variables(self) -> dict[str, str]:
        return {
            **variables_in_home(self.caches / "home"),
            **uv_environment(read_pip_settings()),
            "UV_CACHE_DIR": str(self.caches / "uv"),
            "PIP_CACHE_DIR": str(self.caches / "pip"),
            "UV_CONSTRAINT": str(self.material.pins),
            "DO_NOT_TRACK": "1",
        }


def install_comfy_cli(tool: Path) -> None:
    """Makes the environment at `tool`, as a person would who does not want comfy-cli elsewhere."""
    uv = Program(
        command=(str(uv_program()),),
        variables={
            **plain_variables(),
            **uv_environment(read_pip_settings()),
            "UV_CACHE_DIR": str(tool.with_name(f"{tool.name}-cache")),
        },
        folder=tool.parent,
        log=tool.with_name(f"{tool.name}.log"),
    )
    base = getattr(sys, "_base_executable", sys.executable)
    uv.seconds("venv", "--no-project", "--python", os.fspath(base), tool)
    uv.seconds(
        *("pip", "install", "--python", tool / "bin" / "python", "--compile-bytecode"),
        *("--index-strategy", "unsafe-best-match", f"comfy-cli=={VERSION}"),
    )
