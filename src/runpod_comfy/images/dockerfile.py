"""The steps of an image's build, the text of their Dockerfile, and the image's labels. Pure: the
text only depends on the steps.

No `# syntax=` line, no heredoc and no `COPY --link`: Engine 20.10 does not support them, or not
without a download. Labels that begin with `org.opencontainers.image.` are those of
https://github.com/opencontainers/image-spec/blob/main/annotations.md.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from comfy_files.files import digest_of, sha256_of
from comfy_http.redaction import without_secrets
from runpod_comfy.images import image_paths
from runpod_comfy.layers.plan import ENVIRONMENT, Layer, LayerKind, TextInput, TreeInput
from runpod_comfy.lock.model import Distribution, Lock
from runpod_comfy.project import LAYER_SCRIPTS

TITLE = "org.opencontainers.image.title"
VERSION = "org.opencontainers.image.version"
REVISION = "org.opencontainers.image.revision"
SOURCE = "org.opencontainers.image.source"
BASE_NAME = "org.opencontainers.image.base.name"
BASE_DIGEST = "org.opencontainers.image.base.digest"
CREATED = "org.opencontainers.image.created"
LOCK = "io.runpod-comfy.lock"
CUDA = "io.runpod-comfy.cuda"
LAYERS = "io.runpod-comfy.layers"
CACHE_ID = "runpod-comfy-packages"
_ENVIRONMENT = {
    "HOME": image_paths.USER_HOME,
    "COMFY_BAKED_HOME": image_paths.HOME,
    "NVIDIA_VISIBLE_DEVICES": "all",
    "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
}
WRAPPER = LAYER_SCRIPTS / "in_image.sh"
_INSTALLING: tuple[LayerKind, ...] = (*ENVIRONMENT, "handler")


def labels(
    lock: Lock,
    layers: Sequence[tuple[str, str]],
    *,
    base_name: str,
    base_digest: str | None = None,
    cuda: str | None = None,
) -> dict[str, str]:
    """The labels of the lock's image, sorted by name; they do not depend on the time of the build.

    `layers` are name and key of each layer, in the order of the image. `cuda` is the CUDA version
    of its torch; None values are left out. Revision and source are ComfyUI's.
    """
    known = {
        TITLE: f"ComfyUI {lock.version_id}",
        VERSION: lock.version_id,
        REVISION: lock.comfy.commit,
        SOURCE: without_secrets(lock.comfy.repo),
        BASE_NAME: base_name,
        BASE_DIGEST: base_digest,
        CREATED: datetime.fromtimestamp(lock.epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        LOCK: lock.digest,
        CUDA: cuda,
        LAYERS: json.dumps([list(layer) for layer in layers], separators=(",", ":")),
    }
    return {name: value for name, value in sorted(known.items()) if value}


def layer_keys(found: Mapping[str, str]) -> list[tuple[str, str]]:
    """The name and key of each layer from an image's labels; empty if they have none."""
    try:
        return [(str(name), str(key)) for name, key in json.loads(found.get(LAYERS, "[]"))]
    except (ValueError, TypeError):
        return []


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
        """The step's folder in the context."""
        return f"layers/{self.name.replace(':', '-')}"

    @property
    def script(self) -> str:
        return self.scripts[0].name

    @property
    def key(self) -> str:
        """The layer's key, combined with everything else that determines the step's content in an
        image.
        """
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
        """True if it needs the installer and packages."""
        return self.layer.kind in _INSTALLING

    @property
    def has_network(self) -> bool:
        """True if its script may use the network."""
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

    There is one `RUN` per step, which only sees that step's folder, so that no step depends on
    another's input.

    `ADD` of a tar with an entry for every folder is the only way to add files that gives identical
    bytes in each build. The frame comes first, because the runtime would change a base without
    /etc/hosts; the workflows and the labels come last, because they change often.
    """
    environment = {**_ENVIRONMENT, "COMFY_VERSION_NAME": version_id}
    blocks = [
        # A base may set an ordinary user; the steps need root.
        f"FROM {base}\nUSER 0:0",
        "ADD frame.tar /",
        *(_run(step, f"python{python}") for step in steps),
        "ADD workflows.tar /",
        # The base's own folders are kept, such as those of CUDA's compiler.
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
            # The cache is on another file system.
            "UV_LINK_MODE": "copy",
            # A Python that uv downloads would not stay in the image.
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
    """A quoted value for `ENV` or `LABEL`, where `\\`, `"` and `$` are special."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return f'"{escaped}"'
