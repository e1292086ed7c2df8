"""Makes one layer in a home: puts its inputs where the script looks, and runs the script."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from runpod_comfy.layers.layer import Layer, TreeInput
from runpod_comfy.realize.home import Home
from runpod_comfy.realize.interpreter import find_interpreter, uv_program
from runpod_comfy.realize.script import run_script
from runpod_comfy.sources.cache import Cache
from runpod_comfy.sources.tree import Say

_UV_ONLY = ("torch", "wheels")
_OURS = ("VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT", "UV_COMPILE_BYTECODE", "__PYVENV_LAUNCHER__")


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """What every script of one realization is given.

    `trees` are the fetched trees by hash, `show` is where output is to be seen as it comes,
    `lock_fd` the lock of the home, which a script keeps for as long as it runs.
    """

    home: Home
    cache: Cache
    python_version: str
    torch_index: str | None
    trees: Mapping[str, Path]
    wheels_dir: Path | None
    offline: bool
    say: Say
    show: BinaryIO | None
    lock_fd: int

    @property
    def check_report(self) -> Path:
        return self.home.logs / "check-report.json"


def build_layer(layer: Layer, workshop: Workshop) -> None:
    """Raises a ComfyError with the end of the script's output if it does not succeed."""
    workshop.cache.tmp.mkdir(parents=True, exist_ok=True)
    log = workshop.home.logs / f"{layer.name.replace(':', '-')}.log"
    with tempfile.TemporaryDirectory(dir=workshop.cache.tmp, prefix="layer-") as folder:
        inputs = Path(folder)
        for each in layer.inputs:
            if isinstance(each, TreeInput):
                (inputs / each.name).symlink_to(workshop.trees[each.digest])
            else:
                (inputs / each.name).write_text(each.text, encoding="utf-8")
        run_script(
            ["/bin/sh", str(layer.script)],
            title=f"the layer {layer.name}",
            environment={
                **_surroundings(),
                **_places(workshop, inputs),
                **(_package_settings(layer, workshop) if layer.kind in _UV_ONLY else {}),
                "SOURCE_DATE_EPOCH": str(layer.epoch),
                **layer.environment,
            },
            log=log,
            show=workshop.show,
            keep_open=workshop.lock_fd,
        )


def _surroundings() -> dict[str, str]:
    """This process's variables, without those that would turn another Python or uv astray."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "PEX")) and name not in _OURS
    }


def _places(workshop: Workshop, inputs: Path) -> dict[str, str]:
    return {
        "TARGET": "host",
        "INPUTS": str(inputs),
        "COMFY_HOME": str(workshop.home.root),
        "VENV": str(workshop.home.venv),
        "OFFLINE": "1" if workshop.offline else "0",
        "HANDLER_PYTHON": sys.executable,
        "HANDLER_PATH": os.pathsep.join(path for path in sys.path if path),
        "CHECK_REPORT": str(workshop.check_report),
    }


def _package_settings(layer: Layer, workshop: Workshop) -> dict[str, str]:
    """What uv is told, all of it in variables: an index's address may hold a password."""
    from runpod_comfy.sources.pip_settings import read_pip_settings, uv_arguments, uv_environment

    pip = read_pip_settings()
    settings = {
        "UV": str(uv_program()),
        "UV_CACHE_DIR": str(workshop.cache.uv),
        "PYTHON": str(find_interpreter(workshop.python_version)),
        "UV_LINK_MODE": _link_mode(workshop),
        **uv_environment(pip),
    }
    if workshop.wheels_dir is not None:
        # As a URL: in this list a comma separates.
        wheels = workshop.wheels_dir.absolute().as_uri()
        return {**settings, "UV_FIND_LINKS": wheels, "NO_INDEX": "1"}
    arguments = uv_arguments(pip)
    if "--no-index" in arguments:
        settings["NO_INDEX"] = "1"
    if layer.kind == "torch" and workshop.torch_index:
        indexes = [workshop.torch_index, *settings.get("UV_INDEX", "").split()]
        settings["UV_INDEX"] = " ".join(indexes)
    if "--index-strategy" in arguments or "UV_INDEX" in settings:
        # Hashes decide what is installed: any index that has the file will do.
        settings["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return settings


def _link_mode(workshop: Workshop) -> str:
    """`hardlink` where the home and uv's cache share a filesystem, else `copy`, said aloud."""
    workshop.cache.uv.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.NamedTemporaryFile(dir=workshop.cache.uv, prefix=".link-") as probe,
        tempfile.TemporaryDirectory(dir=workshop.home.root, prefix=".link-") as folder,
    ):
        try:
            os.link(probe.name, Path(folder) / "link")
        except OSError:
            workshop.say(
                f"{workshop.home.root} and the cache {workshop.cache.uv} cannot share files: "
                "packages are copied. Put COMFY_CACHE_ROOT on the same volume to save room."
            )
            return "copy"
    workshop.say("Packages are hard-linked from the cache")
    return "hardlink"
