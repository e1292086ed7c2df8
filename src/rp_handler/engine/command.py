"""ComfyUI's command line and environment, free of our own interpreter's settings."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from comfy_files.files import can_write, children
from comfy_files.user_paths import real
from comfy_home.import_needs import needs_cpu
from comfy_home.layout import HomeLayout
from comfy_models.store import OF_JOBS
from rp_handler.engine import confine

# They form one exclusive group in the core's cli_args.py: `--cpu` cannot be combined with another.
_DEVICE_CHOICES = frozenset(
    {"--cpu", "--directml", "--gpu-only", "--highvram", "--lowvram", "--normalvram", "--novram"}
)
# The engine is reached from this machine only, unless its page is asked for.
LOOPBACK = "127.0.0.1"
# The folders of the cache that hold what homes are made of.
CACHED = (
    *("archives", "asked", "checks", "compiled", "environments", "git", "loaded", "logs"),
    *("pushed", "resolved", "roots", "tools", "trees", "uv"),
)
"""The folders of the cache that no engine may change."""

# Variables of our own interpreter. The engine has another one, and must not see our packages. Also
# the keys with which we deliver outputs, which are no matter of custom nodes.
_OURS = frozenset(
    {
        "BUCKET_ACCESS_KEY_ID",
        "BUCKET_SECRET_ACCESS_KEY",
        "GCS_CREDENTIALS_JSON",
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

    `core` is ComfyUI's folder, `python` the interpreter to run it with. `arguments` and `variables`
    are the version's own; `flags` are the options that this core supports; newer options are only
    passed if listed. `cuda` is the CUDA version that its torch was built for, if any. `listen` is
    the address to serve on. The folders and the database file may be None: then the engine gets
    temporary ones. `extra_model_paths` is one more file that names model folders. The engine and
    what it starts cannot write to the `read_only` folders. The custom nodes `left_out` are not
    executed.
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
    read_only: Sequence[Path] = ()
    left_out: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class EngineFolders:
    """The folders that one engine reads and writes. Its history refers to them as `output` and so
    on.
    """

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
    # The core creates a folder `temp` inside it, and empties that when it starts.
    command += ["--temp-directory", str(folders.temp.parent)]
    if "--database-url" in setup.flags:
        # By default the core would keep its database beside its own source.
        command += ["--database-url", f"sqlite:///{database}"]
    return command


def read_only_folders(
    python: Path, environment: Mapping[str, str], *, writable_environment: bool
) -> list[Path]:
    """What no engine may change, as far as it exists: the cache, the homes of other versions, whose
    files are the cache's, and the environment of its interpreter `python`, unless that is writable.
    """
    root = Path(environment.get("COMFY_CACHE_ROOT") or "~/.cache/runpod-comfy")
    models = Path(environment.get("COMFY_CACHE_MODELS") or root / "models")
    places = [*(root / name for name in CACHED), models / "sha256", models / OF_JOBS]
    venv = python.parent.parent
    if not writable_environment:
        places.append(venv)
    # Without a home folder a `~` stays: then nothing is there.
    found = [Path(os.path.expanduser(place)).absolute() for place in places]  # noqa: PTH111
    for home in _recorded_homes(found[CACHED.index("roots")]):
        if real(home.root) != real(venv.parent):
            found += [home.venv, home.comfyui]
    return [place for place in found if place.is_dir()]


def _recorded_homes(roots: Path) -> Iterator[HomeLayout]:
    """The homes that the cache knows of, as `runpod_comfy.cache.roots` records them."""
    for path in sorted(roots.glob("*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            record = json.loads(path.read_bytes())
            if record["kind"] == "home":
                yield HomeLayout(root=Path(record["path"]))


def confined(
    command: Sequence[str],
    setup: EngineSetup,
    folders: EngineFolders,
    environment: Mapping[str, str],
) -> list[str]:
    """`command`, started so that it cannot write to the setup's read-only folders."""
    if not setup.read_only:
        return list(command)
    nodes = setup.core / "custom_nodes"
    models = (setup.core / "models", setup.core.parent / "models")
    venv = setup.python.parent.parent
    written = [
        *(folders.input, folders.output, folders.user, folders.temp.parent),
        *(setup.core, nodes, *children(nodes), *models),
        *((venv,) if venv not in setup.read_only else ()),
        Path(environment["HOME"]),
    ]
    return [
        *(sys.executable, "-I", "-S", "-B", confine.__file__),
        *(f"{confine.READ_ONLY}{folder}" for folder in setup.read_only),
        *(f"{confine.WRITTEN}{folder}" for folder in written if folder.is_dir()),
        *("--", *command),
    ]


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` without the variables of our own interpreter."""
    return {
        name: value
        for name, value in environment.items()
        if name not in _OURS and not name.startswith("PEX")
    }


def engine_environment(
    setup: EngineSetup, environment: Mapping[str, str], *, spare_home: Path
) -> dict[str, str]:
    """The version's own variables, overridden by `environment` without our interpreter's.

    Variables of the environment take precedence over those of the version's spec. `spare_home`
    becomes HOME if the given one is not writable: nodes keep caches there and would fail to import.
    """
    kept = clean_environment(environment)
    if not kept.get("HOME") or not can_write(Path(kept["HOME"])):
        kept["HOME"] = str(spare_home)
    if not kept.get("USER") and not _has_name(os.getuid()):
        # A container may run as any user id, and torch asks for the user's name.
        kept["USER"] = str(os.getuid())
    path = [str(setup.python.parent), *filter(None, [kept.get("PATH", os.defpath)])]
    return {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        # The packages that a node installs must not change with uv's cache.
        "UV_LINK_MODE": "copy",
        **setup.variables,
        **kept,
        "PATH": os.pathsep.join(path),
        "VIRTUAL_ENV": str(setup.python.parent.parent),
        # Its log is a file: without this, a crash would lose the last lines.
        "PYTHONUNBUFFERED": "1",
    }


def _has_name(user: int) -> bool:
    try:
        pwd.getpwuid(user)
    except KeyError:
        return False
    return True


def runs_on_cpu(
    arguments: Sequence[str], variables: Mapping[str, str], environment: Mapping[str, str]
) -> bool:
    """True if an engine uses no GPU, because of its arguments or because there is none.

    `variables` are the version's own, over which those of `environment` take precedence.
    """
    return "--cpu" in arguments or needs_cpu({**variables, **environment})
