"""Plan → the steps of an image's build: what each runs, what it is given, and its variables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from comfy_files.hashing import digest_of, sha256_of
from runpod_comfy.checkout import LAYER_SCRIPTS
from runpod_comfy.images import image_paths as places
from runpod_comfy.layers.layer import Layer, TextInput, TreeInput
from runpod_comfy.layers.plan import Plan
from runpod_comfy.layers.requirements import requirements_text
from runpod_comfy.lock.model import Distribution, Lock
from runpod_comfy.lock.python.platform_marker import platforms_of

TORCH_PARTS = 4
"""A worker pulls and unpacks the layers of an image side by side, three at a time by default."""

_WRAPPER = LAYER_SCRIPTS / "in_image.sh"
_INSTALLS = ("torch", "wheels")


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
            "wrapper": sha256_of(_WRAPPER),
            "variables": sorted(self.variables.items()),
            "further": self.further,
        }
        text = json.dumps(projection, separators=(",", ":"))
        return digest_of(text.encode())

    @property
    def installs(self) -> bool:
        """Whether it needs the installer and packages."""
        return self.layer.kind in _INSTALLS

    @property
    def has_network(self) -> bool:
        """Whether its script may ask for something."""
        return self.layer.kind in (*_INSTALLS, "system", "install")


def make_steps(
    plan: Plan,
    lock: Lock,
    *,
    handler: str,
    base_packages: Sequence[str] = (),
    user: str = places.DEFAULT_USER,
) -> list[Step]:
    """The steps of `plan`, in its order. The group `torch` is dealt out to several.

    `handler` is the digest of the handler's sources, `base_packages` are Debian packages that the
    base lacks, `user` is `uid:gid`.
    """
    steps: list[Step] = []
    for layer in plan.layers:
        if layer.kind == "torch":
            steps += _torch_steps(layer, plan, lock)
        elif layer.kind == "wheels":
            steps.append(_install_step(layer, "wheels", layer.scripts, _here(lock, plan, "wheels")))
        else:
            further = handler if layer.kind == "handler" else None
            steps.append(_step(layer, _variables(layer, base_packages, user), further))
    return steps


def _step(layer: Layer, variables: Mapping[str, str], further: str | None) -> Step:
    return Step(
        name=layer.name,
        layer=layer,
        scripts=(*layer.scripts, _WRAPPER),
        inputs=layer.inputs,
        variables={**layer.environment, **variables},
        further=further,
    )


def _variables(layer: Layer, base_packages: Sequence[str], user: str) -> dict[str, str]:
    if layer.kind == "system":
        packages = [*base_packages, *layer.environment["SYSTEM_PACKAGES"].split()]
        return {"SYSTEM_PACKAGES": " ".join(dict.fromkeys(packages)), "IMAGE_USER": user}
    if layer.kind == "models":
        return {"IMAGE_USER": user}
    if layer.kind == "handler":
        return {"HANDLER_HOME": places.HANDLER}
    if layer.kind == "check":
        return {
            "HANDLER_PYTHON": f"{places.HANDLER}/bin/python",
            "CHECK_REPORT": "/tmp/check-report.json",  # of the build's own container
        }
    return {}


def _torch_steps(layer: Layer, plan: Plan, lock: Lock) -> list[Step]:
    first, *others = _balanced(_here(lock, plan, "torch"), TORCH_PARTS)
    scripts = plan.layer("wheels").scripts
    return [
        _install_step(layer, "torch", layer.scripts, first),
        *(
            _install_step(layer, f"torch-{number}", scripts, part)
            for number, part in enumerate(others, start=2)
        ),
    ]


def _install_step(
    layer: Layer, name: str, scripts: tuple[Path, ...], distributions: Sequence[Distribution]
) -> Step:
    requirements = TextInput(name="requirements.txt", text=requirements_text(distributions))
    return Step(
        name=name,
        layer=layer,
        scripts=(*scripts, _WRAPPER),
        inputs=(requirements,),
        variables=dict(layer.environment),
        further=requirements.digest if layer.kind == "torch" else None,
        distributions=tuple(distributions),
    )


def _here(lock: Lock, plan: Plan, group: str) -> list[Distribution]:
    """What the platform takes of a group; markers of other platforms would only add noise."""
    distributions = lock.python.torch if group == "torch" else lock.python.wheels
    return [
        each
        for each in distributions
        if platforms_of(each.marker, python=lock.python.version, platforms=[plan.platform])
    ]


def _balanced(distributions: Sequence[Distribution], parts: int) -> list[list[Distribution]]:
    """At most `parts` lists of about equal size in bytes, at least one; the largest file first."""
    dealt: list[list[Distribution]] = [[]]
    sizes = [0]
    for each in sorted(distributions, key=lambda one: (-_size(one), one.name)):
        if dealt[-1] and len(dealt) < parts and _size(each) > min(sizes) / 2:
            dealt.append([])
            sizes.append(0)
        least = sizes.index(min(sizes))
        dealt[least].append(each)
        sizes[least] += _size(each)
    return dealt


def _size(distribution: Distribution) -> int:
    """The bytes of its largest file: files of one release differ little between machines."""
    return max((file.size or 0 for file in distribution.files), default=0)
