"""What ComfyUI is started with: the command line and the environment, nothing of our own in it."""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from comfy_files.files import can_write

# They form one exclusive group in the core's cli_args.py: `--cpu` beside another is refused.
_DEVICE_CHOICES = frozenset(
    {"--cpu", "--directml", "--gpu-only", "--highvram", "--lowvram", "--normalvram", "--novram"}
)
# The engine is reached from this machine only, unless its page is asked for.
LOOPBACK = "127.0.0.1"
_ACCELERATORS = ("nvidia[0-9]*", "nvidiactl", "kfd", "dxg")

# What belongs to our interpreter. The engine has its own, and must not see our packages.
_OURS = frozenset(
    {
        "PYTHONHOME",
        "PYTHONPATH",
        "PYTHONSAFEPATH",
        "PYTHONSTARTUP",
        "VIRTUAL_ENV",
        "VIRTUAL_ENV_PROMPT",
        "__PYVENV_LAUNCHER__",
    }
)


@dataclass(frozen=True, kw_only=True)
class EngineSetup:
    """One way to start a core.

    `core` is ComfyUI's folder, `python` the interpreter to run it with. `arguments` and
    `variables` are the version's own; `flags` are the options that this core is known to have,
    which decides about those that came late. `cuda` is the CUDA version that its torch was built
    for, if any. `listen` is the address to serve on. The folders and the database file may be
    None: then the engine gets fresh ones that end with it. `extra_model_paths` is one more file
    that names model folders.
    """

    core: Path
    python: Path
    arguments: Sequence[str] = ()
    variables: Mapping[str, str]
    flags: frozenset[str]
    cuda: str | None = None
    listen: str = LOOPBACK
    input_folder: Path | None = None
    output_folder: Path | None = None
    user_folder: Path | None = None
    database: Path | None = None
    extra_model_paths: Path | None = None


@dataclass(frozen=True, kw_only=True)
class EngineFolders:
    """Where one engine reads and writes. Entries of its history name them `output` and so on."""

    input: Path
    output: Path
    user: Path
    temp: Path


def engine_command(
    setup: EngineSetup, folders: EngineFolders, *, port: int, database: Path, needs_cpu: bool
) -> list[str]:
    """The command line. Ours comes last, because argparse lets the last one win.

    Never `--base-directory`: with it the core looks for custom nodes there as well.
    """
    command = [str(setup.python), str(setup.core / "main.py"), *setup.arguments]
    chosen = {argument.split("=", 1)[0] for argument in setup.arguments}
    if needs_cpu and not chosen & _DEVICE_CHOICES:
        command.append("--cpu")
    if setup.extra_model_paths is not None:
        command += ["--extra-model-paths-config", str(setup.extra_model_paths)]
    command += ["--listen", setup.listen, "--port", str(port), "--disable-auto-launch"]
    command += ["--output-directory", str(folders.output)]
    command += ["--input-directory", str(folders.input)]
    command += ["--user-directory", str(folders.user)]
    # The core puts a folder `temp` into what it is given, and empties that at its start.
    command += ["--temp-directory", str(folders.temp.parent)]
    if "--database-url" in setup.flags:
        # Left alone, the core would keep its database beside its own source.
        command += ["--database-url", f"sqlite:///{database}"]
    return command


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` without what belongs to our own interpreter."""
    return {
        name: value
        for name, value in environment.items()
        if name not in _OURS and not name.startswith("PEX")
    }


def engine_environment(
    setup: EngineSetup, environment: Mapping[str, str], *, spare_home: Path
) -> dict[str, str]:
    """`environment` without what is ours, above the version's own variables.

    Variables of the environment win over those of the version's spec. `spare_home` becomes the
    HOME if theirs cannot be written: nodes keep caches there and would not import.
    """
    kept = clean_environment(environment)
    if not kept.get("HOME") or not can_write(Path(kept["HOME"])):
        kept["HOME"] = str(spare_home)
    if not kept.get("USER") and not _has_name(os.getuid()):
        # A container may run as any number, and torch asks for the name of its user.
        kept["USER"] = str(os.getuid())
    path = [str(setup.python.parent), *filter(None, [kept.get("PATH", os.defpath)])]
    return {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        **setup.variables,
        **kept,
        "PATH": os.pathsep.join(path),
        "VIRTUAL_ENV": str(setup.python.parent.parent),
        # Its log is a file: without this, a crash would swallow what was printed last.
        "PYTHONUNBUFFERED": "1",
    }


def _has_name(user: int) -> bool:
    try:
        pwd.getpwuid(user)
    except KeyError:
        return False
    return True


def runs_on_cpu(setup: EngineSetup, environment: Mapping[str, str]) -> bool:
    """Whether the engine has no use for a GPU, by its own arguments or for want of one."""
    return "--cpu" in setup.arguments or needs_cpu({**setup.variables, **environment})


def needs_cpu(environment: Mapping[str, str], devices: Path = Path("/dev")) -> bool:
    """True where torch will find no accelerator, and ComfyUI would stop without `--cpu`."""
    if sys.platform != "linux":
        return False
    if environment.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return True
    return not any(any(devices.glob(pattern)) for pattern in _ACCELERATORS)
