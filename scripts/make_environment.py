"""Makes the project's environment, .venv, from lockfiles/default.lock, hash by hash.

Standard library only, because it runs before anything is installed. The copy of the lock inside the
environment is written last: without it, or with another one, the environment counts as unfinished
and is made again from nothing. Exit codes: 0 done, 3 something needed was missing or out of reach.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pex_lock import pip_requirements

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "lockfiles" / "default.lock"
ENVIRONMENT = ROOT / ".venv"
PROGRAMS = {"runpod-comfy": "runpod_comfy.cli.app"}

# The first two lines are shell and, to Python, a string: a path may be too long for a `#!` line, or
# hold a space.
PROGRAM = """#!/bin/sh
'''exec' "{python}" "$0" "$@"
' '''
import sys

from {module} import main

if __name__ == "__main__":
    sys.exit(main())
"""


class MissingError(Exception):
    """Something that only the person at the keyboard can provide."""


def main() -> int:
    """Make the environment unless it is there already; say what happens on standard error."""
    # The lock is held by the open file, so that a killed run leaves nothing to clean up. Programs
    # started here hold it too: they may outlive this one, and then the next run waits for them.
    with (ROOT / ".venv.lock").open("w") as turn:
        try:
            fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("waiting for another process that is making .venv")
            fcntl.flock(turn, fcntl.LOCK_EX)
        if is_made(ENVIRONMENT, LOCK):
            return 0
        try:
            make(ENVIRONMENT, LOCK, turn.fileno())
        except MissingError as problem:
            _say(str(problem))
            return 3
    return 0


def is_made(environment: Path, lock: Path) -> bool:
    """Whether the environment was finished, from this very lock, and its Python still exists."""
    stamp = environment / "made-from.lock"
    python = environment / "bin" / "python"
    return python.exists() and stamp.is_file() and stamp.read_bytes() == lock.read_bytes()


def make(environment: Path, lock: Path, turn: int) -> None:
    """Make the environment from nothing, while the descriptor `turn` holds our turn.

    Raises MissingError, one sentence with the way out.
    """
    stamp = lock.read_bytes()
    requirements = pip_requirements(lock)
    version = ".".join(map(str, sys.version_info[:2]))
    _say(
        f"making .venv with Python {version}: {len(requirements)} packages, "
        "about 100 MB to download"
    )
    if environment.is_symlink():
        environment.unlink()
    shutil.rmtree(environment, ignore_errors=True)
    pip = _bare_environment(environment, turn)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as listed:
        listed.write("\n".join(requirements) + "\n")
        listed.flush()
        done = subprocess.run(
            [*pip, "-qq", "install", "--require-hashes", "--no-deps", "-r", listed.name],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            pass_fds=(turn,),
        )
    if done.returncode:
        raise MissingError(
            "the packages could not be installed, as pip says above; "
            "check the network and pip's configuration (`pip config list`), then run this again"
        )
    _add_project(environment)
    unfinished = environment / "made-from.lock.new"
    unfinished.write_bytes(stamp)
    unfinished.rename(environment / "made-from.lock")
    _say(f"made {environment}")


def _bare_environment(environment: Path, turn: int) -> list[str]:
    """An environment without packages; returns the pip command that installs into it."""
    python = str(environment / "bin" / "python")
    create = [sys.executable, "-m", "venv"]
    if _succeeds([sys.executable, "-c", "import ensurepip"], turn):
        if _succeeds([*create, str(environment)], turn):
            return [python, "-m", "pip"]
        raise MissingError(f"`{' '.join(create)} FOLDER` failed; run it by hand to see why")
    # Debian keeps ensurepip in a package of its own; its pip can install into other environments.
    pip = [sys.executable, "-m", "pip", "--python"]
    if _succeeds([*pip, sys.executable, "--version"], turn) and _succeeds(
        [*create, "--without-pip", str(environment)], turn
    ):
        return [*pip, python]
    version = ".".join(map(str, sys.version_info[:2]))
    raise MissingError(
        f"{sys.executable} has neither `ensurepip` nor pip: install its venv package "
        f"(on Debian and Ubuntu `apt install python{version}-venv`), then run this again"
    )


def _succeeds(command: list[str], turn: int) -> bool:
    done = subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(turn,),
    )
    return done.returncode == 0


def _add_project(environment: Path) -> None:
    (packages,) = environment.glob("lib/python3.*/site-packages")
    (packages / "runpod-comfy.pth").write_text(f"{ROOT / 'src'}\n", encoding="utf-8")
    for name, module in PROGRAMS.items():
        program = environment / "bin" / name
        python = environment / "bin" / "python"
        program.write_text(PROGRAM.format(python=python, module=module), encoding="utf-8")
        program.chmod(0o755)


def _say(text: str) -> None:
    print(f"environment: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
