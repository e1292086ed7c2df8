"""Programs as processes of their own: any Python code, and ours as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


def our_modules() -> dict[str, str]:
    """The variables with which another Python finds the modules of this one, and verifies the
    homes that it realizes.
    """
    first = str(ROOT / "tests/in_processes")
    return {"PYTHONPATH": os.pathsep.join([first, *filter(None, sys.path)])}


def start_python(
    *arguments: object, variables: Mapping[str, str] | None = None, **options: Any
) -> subprocess.Popen[str]:
    """A Python with our modules, which says on `stdout` what a test may read.

    `variables` are added to its environment, `options` are those of Popen.
    """
    usual = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE}
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, **our_modules(), **(variables or {})},
        text=True,
        **(usual | options),
    )


def write_program(path: Path, script: str) -> Path:
    """An executable of these shell lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}")
    path.chmod(0o755)
    return path


def next_line(process: subprocess.Popen[str]) -> str:
    """The next line that a process prints."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def wait_for(output: IO[str] | None, text: str) -> str:
    """The first line of a process's output that has the text."""
    assert output is not None
    for line in output:
        if text in line:
            return line
    pytest.fail(f"it never said {text!r}")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a finished process said."""

    code: int
    out: str
    err: str

    def document(self) -> dict[str, Any]:
        """The JSON document that a process which succeeded printed."""
        assert self.code == 0, self.err
        document: dict[str, Any] = json.loads(self.out)
        return document

    def failed_with(self, code: int) -> str:
        """The error of a process that failed in words, not in a traceback."""
        assert self.code == code, self.err
        assert "Traceback (most recent call last)" not in self.err
        return self.err


@dataclass(frozen=True, kw_only=True)
class Program:
    """`runpod-comfy` in a working directory, with the variables that a test adds."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str | Path, module: str = "runpod_comfy.cli.app") -> Outcome:
        with self.start(*arguments, module=module) as process:
            out, err = process.communicate()
        return Outcome(code=process.returncode, out=out, err=err)

    def start(
        self, *arguments: str | Path, module: str = "runpod_comfy.cli.app"
    ) -> subprocess.Popen[str]:
        """The same, without waiting for its end."""
        return start_python(
            "-m",
            module,
            *arguments,
            variables=self.variables,
            cwd=self.folder,
            stderr=subprocess.PIPE,
        )
