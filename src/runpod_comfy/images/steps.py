"""A step of an image's build: what it runs, what it is given, and its variables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from comfy_files.hashing import digest_of, sha256_of
from runpod_comfy.checkout import LAYER_SCRIPTS
from runpod_comfy.layers.plan import ENVIRONMENT, Layer, TextInput, TreeInput
from runpod_comfy.lock.model import Distribution

WRAPPER = LAYER_SCRIPTS / "in_image.sh"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One `RUN`. `name` is the layer's, with a number for the later parts of torch.

    `scripts` begins with the one to run. `inputs` are trees and texts of the plan, `distributions`
    what the installer is to bring. `variables` are the step's own. `further` is the digest of what
    neither the plan nor they tell: what a part of torch holds, or the handler's sources.
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
        return self.layer.kind in ENVIRONMENT

    @property
    def has_network(self) -> bool:
        """Whether its script may ask for something."""
        return self.layer.kind in (*ENVIRONMENT, "system", "install")
