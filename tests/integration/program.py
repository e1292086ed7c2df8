"""Runs the program as a person does: a process of its own, an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


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
        return subprocess.Popen(
            [sys.executable, "-m", module, *map(str, arguments)],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **self.variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
