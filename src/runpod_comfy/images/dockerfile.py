"""The steps of an image's build, and the text of their Dockerfile. Pure: the same steps give the
same text.

No `# syntax=` line, no heredoc and no `COPY --link`: Engine 20.10 has them not, or not without a
download.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from comfy_files.files import digest_of, sha256_of
from runpod_comfy.images import image_paths
from runpod_comfy.layers.plan import ENVIRONMENT, Layer, LayerKind, TextInput, TreeInput
from runpod_comfy.lock.model import Distribution
from runpod_comfy.project import LAYER_SCRIPTS

CACHE_ID = "runpod-comfy-packages"

_ENVIRONMENT = {
    "HOME": image_paths.USER_HOME,
    "COMFY_BAKED_HOME": image_paths.HOME,
    "NVIDIA_VISIBLE_DEVICES": "all",
    "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
}

WRAPPER = LAYER_SCRIPTS / "in_image.sh"

_INSTALLING: tuple[LayerKind, ...] = (*ENVIRONMENT, "handler")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One `RUN`. `name` is the layer's, with a number for the later parts of torch.

    `scripts` begins with the one to run. `inputs` are trees and texts of the plan, `distributions`
    what the installer is to bring. `variables` are the step's own. `further` is the digest of what
    neither the plan nor they tell: what a part of torch holds, or the handler.
    """

    name: str
    layer: Layer
    scripts: tuple[Path, ...]
    inputs: tuple[TreeInput | TextInput, ...]
    variables: Mapping[str, str]
    further: str | None = None
    distributions: tuple[Distribution, ...] = field(default=(), repr=False)

    @property
    def folder(self) -> str:
        """Its folder in the context."""
        return f"layers/{self.name.replace(':', '-')}"

    @property
    def script(self) -> str:
        return self.scripts[0].name

    @property
    def key(self) -> str:
        """The layer's key, with what else decides the content of the step in an image."""
        projection = {
            "layer": self.layer.key,
            "wrapper": sha256_of(WRAPPER),
            "variables": sorted(self.variables.items()),
            "further": self.further,
        }
        text = json.dumps(projection, separators=(",", ":"))
        return digest_of(text.encode())

    @property
    def installs(self) -> bool:
        """Whether it needs the installer and packages."""
        return self.layer.kind in _INSTALLING

    @property
    def has_network(self) -> bool:
        """Whether its script may ask for something."""
        return self.layer.kind in (*_INSTALLING, "system", "install")


def dockerfile(
    steps: Sequence[Step],
    *,
    base: str,
    python: str,
    user: str,
    version_id: str,
    labels: Mapping[str, str],
) -> str:
    """The Dockerfile of these steps on the image `base`, which has Python `python` (`3.11`).

    There is one `RUN` a step, given that step's folder alone, so that none depends on another's
    input.

    `ADD` of a tar that names every folder is the one way to files that has the same bytes in each
    build: the frame comes first, since the runtime would leave marks in a base without
    /etc/hosts; the workflows come last, as do the labels, for both change often.
    """
    environment = {**_ENVIRONMENT, "COMFY_VERSION_NAME": version_id}
    blocks = [
        # A base may have an ordinary user; its steps need root.
        f"FROM {base}\nUSER 0:0",
        "ADD frame.tar /",
        *(_run(step, f"python{python}") for step in steps),
        "ADD workflows.tar /",
        # The base's own folders stay: those of CUDA's compiler, for one.
        "\n".join(
            [
                f'ENV PATH="{image_paths.HANDLER}/bin:$PATH"',
                *(f"ENV {name}={_quoted(value)}" for name, value in environment.items()),
            ]
        ),
        f"WORKDIR {image_paths.APP}\nUSER {user}",
        "ENTRYPOINT "
        + json.dumps([f"{image_paths.HANDLER}/bin/python", "-m", "rp_handler.main"])
        + "\nCMD []",
        "\n".join(f"LABEL {name}={_quoted(value)}" for name, value in sorted(labels.items())),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _run(step: Step, python: str) -> str:
    mounts = [f"type=bind,source={step.folder},target={image_paths.STEP}"]
    installer: dict[str, str] = {}
    if step.installs:
        mounts += [
            f"type=bind,source=tools,target={image_paths.TOOLS}",
            f"type=cache,id={CACHE_ID},target={image_paths.PACKAGES}",
        ]
        installer = {
            "UV": f"{image_paths.TOOLS}/uv",
            "UV_CACHE_DIR": image_paths.PACKAGES,
            # The cache is another file system.
            "UV_LINK_MODE": "copy",
            # One that it would fetch does not stay in the image.
            "UV_PYTHON_DOWNLOADS": "never",
        }
    variables = {
        "LAYER": step.name,
        **step.layer.variables(
            target="image",
            inputs=f"{image_paths.STEP}/inputs",
            home=image_paths.HOME,
            venv=image_paths.VENV,
        ),
        "PYTHON": python,
        **installer,
        **step.variables,
    }
    words = [f"{name}={shlex.quote(value)}" for name, value in variables.items()]
    return " \\\n    ".join(
        [
            "RUN " + " ".join(f"--mount={mount}" for mount in mounts),
            *words,
            f"sh {image_paths.STEP}/in_image.sh {step.script}",
        ]
    )


def _quoted(value: str) -> str:
    """A value of `ENV` or `LABEL`, in which `\\`, `"` and `$` mean something."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return f'"{escaped}"'
