"""Makes the project's environment, .venv, with uv, checking every hash.

    make_environment.py [--dev]

It gets the packages of `runpod-comfy` (lockfiles/runtime.txt); with `--dev` also the tools for
tests and checks (lockfiles/default.lock). uv is the one on the PATH, or the locked one, which pip
installs for this purpose. Both use the indexes that pip is configured for. Standard library only,
because it runs before anything is installed. A copy of each list is written into the environment
once its packages are installed: without it, or with another one, the environment counts as
unfinished. Exit codes: 0 done, 3 something required was missing or out of reach, 130 interrupted.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# While this loads, Ctrl-C ends it without a traceback; `main` handles it from then on.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler and __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from pex_lock import pip_requirements

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from comfy_errors import ComfyError  # noqa: E402
from comfy_files.files import os_reason  # noqa: E402
from runpod_comfy.sources.index.pip_settings import (  # noqa: E402
    read_pip_settings,
    uv_arguments,
    uv_environment,
)

LOCKFILES = ROOT / "lockfiles"
RUNTIME = "runtime.txt"
EVERYTHING = "default.lock"
ENVIRONMENT = ROOT / ".venv"
# The download size on Linux.
_MEGABYTES = {RUNTIME: 95, EVERYTHING: 140}
PROGRAMS = {"runpod-comfy": "runpod_comfy.cli.app"}

# The first two lines are shell and, to Python, a string: a path may be too long for a `#!` line, or
# hold a space.
PROGRAM = """#!/bin/sh
'''exec' "{python}" "$0" "$@"
' '''
import signal
import sys

# While the program loads, Ctrl-C ends it without a traceback; `main` handles it from then on.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from {module} import main

if __name__ == "__main__":
    sys.exit(main())
"""


class MissingError(Exception):
    """Something that only the user can provide."""


def main() -> int:
    """Make the environment unless it exists; report progress on standard error."""
    try:
        make_once(EVERYTHING if "--dev" in sys.argv[1:] else RUNTIME)
    except MissingError as problem:
        _say(str(problem))
        return 3
    except ComfyError as error:
        _say(f"{error.message}; {error.remedy}")
        return 3
    except OSError as error:
        _say(
            f"{ENVIRONMENT} could not be made: {os_reason(error)}; free some space there, or "
            f"change its permissions, or copy {ROOT} to a folder of your own"
        )
        return 3
    except KeyboardInterrupt:
        # The existing environment has no copy of the list, so it is made again.
        return 130
    return 0


def make_once(wanted: str) -> None:
    """Installs the packages of the list `wanted`, unless another process is doing so.

    Raises what `make` raises, and OSError.
    """
    # The open file holds the lock, so that a killed run leaves nothing to clean up. Programs
    # started here hold it too: they may outlive this one, and then the next run waits for them.
    with (ROOT / ".venv.lock").open("w") as turn:
        try:
            fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("waiting for another process that is making .venv")
            fcntl.flock(turn, fcntl.LOCK_EX)
        if not has_packages_of(wanted):
            make(wanted, turn.fileno())


def has_packages_of(list_name: str) -> bool:
    """True if the environment has all packages of this exact list, and its Python still exists."""
    made = ENVIRONMENT / list_name
    python = ENVIRONMENT / "bin" / "python"
    wanted = (LOCKFILES / list_name).read_bytes()
    return python.exists() and made.is_file() and made.read_bytes() == wanted


def make(wanted: str, turn: int) -> None:
    """Installs the packages of the list `wanted`, while the descriptor `turn` holds our turn.

    An environment with the packages of RUNTIME gets the others; any other is made from scratch.
    Raises MissingError, one sentence with the next step.
    """
    started = time.monotonic()
    lists = {name: (LOCKFILES / name).read_bytes() for name in {RUNTIME, wanted}}
    runtime = lists[RUNTIME].decode()
    lines = runtime.splitlines()
    if wanted == EVERYTHING:
        lines = pip_requirements(LOCKFILES / EVERYTHING)
    has_runtime = has_packages_of(RUNTIME)
    what = "adding the tools for tests and checks to .venv" if has_runtime else "making .venv"
    version = ".".join(map(str, sys.version_info[:2]))
    count = sum("==" in line for line in lines)
    _say(f"{what} with Python {version}: {count} packages, about {_MEGABYTES[wanted]} MB")
    if not has_runtime:
        if ENVIRONMENT.is_symlink():
            ENVIRONMENT.unlink()
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    with tempfile.TemporaryDirectory() as scratch:
        uv = shutil.which("uv")
        if uv is None or not _succeeds([uv, "--version"], turn):
            uv = _locked_uv(runtime, Path(scratch), turn)
        if not has_runtime:
            _run([sys.executable, "-m", "venv", "--without-pip", str(ENVIRONMENT)], turn)
        # On a terminal uv shows its downloads; elsewhere it would list every package.
        quiet = [] if sys.stderr.isatty() else ["--quiet"]
        # `sync` also removes what only an earlier list had.
        install = [uv, "pip", "sync", *quiet, "--require-hashes", "--no-config"]
        where = [
            "--python",
            str(ENVIRONMENT / "bin" / "python"),
            *uv_arguments(read_pip_settings()),
        ]
        _run(
            [*install, *where],
            turn,
            requirements=lines,
            failed="the packages could not be installed, as uv says above",
        )
    _add_project()
    for name, content in lists.items():
        unfinished = ENVIRONMENT / f"{name}.new"
        unfinished.write_bytes(content)
        unfinished.rename(ENVIRONMENT / name)
    _say(f"made {ENVIRONMENT} in {time.monotonic() - started:.0f} s")


def _locked_uv(requirements: str, scratch: Path, turn: int) -> str:
    """Installs the locked uv below `scratch` with pip; returns its path."""
    of_uv = re.findall(r"^uv==.*(?:\n .*)*", requirements, flags=re.MULTILINE)
    pip = [sys.executable, "-m", "pip"]
    if not _succeeds([*pip, "--version"], turn):
        # Debian has ensurepip in a separate package, and some Pythons come without pip.
        if not _succeeds([sys.executable, "-m", "venv", str(scratch / "venv")], turn):
            version = ".".join(map(str, sys.version_info[:2]))
            raise MissingError(
                f"there is no working uv on the PATH, and {sys.executable} has neither pip nor "
                f"`ensurepip` to install it: install uv, or Python's venv package (on Debian and "
                f"Ubuntu `apt install python{version}-venv`), then run this again"
            )
        pip = [str(scratch / "venv" / "bin" / "python"), "-m", "pip"]
    _say("no working uv on the PATH: installing the locked one with pip, about 25 MB")
    install = ["-qq", "install", "--require-hashes", "--no-deps", "--target", str(scratch), "-r"]
    _run(
        [*pip, *install],
        turn,
        requirements=of_uv,
        failed="uv could not be installed, as pip says above",
    )
    return str(scratch / "bin" / "uv")


def _run(
    command: list[str],
    turn: int,
    *,
    requirements: list[str] | None = None,
    failed: str = "the environment could not be made",
) -> None:
    """Runs a command that may take a file of requirements as its last argument."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as listed:
        listed.write("\n".join(requirements or ()) + "\n")
        listed.flush()
        done = subprocess.run(
            [*command, *([listed.name] if requirements is not None else [])],
            check=False,
            env={**os.environ, **uv_environment(read_pip_settings())},
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            pass_fds=(turn,),
        )
    if done.returncode:
        raise MissingError(
            f"{failed}; check the network and pip's configuration (`pip config list`), "
            "then run this again"
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


def _add_project() -> None:
    (packages,) = ENVIRONMENT.glob("lib/python3.*/site-packages")
    (packages / "runpod-comfy.pth").write_text(f"{ROOT / 'src'}\n", encoding="utf-8")
    for name, module in PROGRAMS.items():
        program = ENVIRONMENT / "bin" / name
        python = ENVIRONMENT / "bin" / "python"
        program.write_text(PROGRAM.format(python=python, module=module), encoding="utf-8")
        program.chmod(0o755)


def _say(text: str) -> None:
    print(f"environment: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    os.umask(0o022)
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main())
