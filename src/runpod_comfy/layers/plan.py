"""Lock → plan. Pure: it reads the layer scripts and nothing else, and starts nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from comfy_home.manifest import CHECK_SCHEMA
from runpod_comfy.checkout import LAYER_SCRIPTS
from runpod_comfy.layers.layer import Layer, LayerKind, TextInput, TreeInput, layer_key
from runpod_comfy.layers.requirements import requirements_text
from runpod_comfy.lock.model import Distribution, Lock

"""The layer scripts of this checkout."""

_SHARED = "steps.sh"
_COMPILER = "compile_bytecode.py"
_USES: dict[LayerKind, tuple[str, ...]] = {
    "torch": (_SHARED, _COMPILER),
    "wheels": (_SHARED, _COMPILER),
    "handler": (_SHARED, _COMPILER),
    "core": (_SHARED, _COMPILER),
    "models": (_SHARED, "model_folders.py"),
    "node": (_SHARED, _COMPILER),
    "install": (_SHARED, _COMPILER, "run_install.py", "install_watch.py"),
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The layers of a lock, in the order in which they are made: heavy and stable ones first."""

    platform: str
    layers: tuple[Layer, ...]

    def layer(self, name: str) -> Layer:
        return next(layer for layer in self.layers if layer.name == name)


def make_plan(lock: Lock, *, platform: str, scripts: Path = LAYER_SCRIPTS) -> Plan:
    """The plan of a lock for a platform such as `linux-x86_64`; `scripts` is `images/layers`."""
    interpreter = {"PYTHON_VERSION": lock.python.version}
    machine = {**interpreter, "PLATFORM": platform}

    def layer(
        kind: LayerKind,
        *inputs: TreeInput | TextInput,
        environment: Mapping[str, str] | None = None,
        after: Sequence[Layer] = (),
        name: str | None = None,
    ) -> Layer:
        files = tuple(scripts / file for file in (f"{kind}.sh", *_USES.get(kind, ())))
        key = layer_key(
            kind,
            scripts=files,
            inputs=inputs,
            environment=environment or {},
            after=[earlier.key for earlier in after],
        )
        return Layer(
            name=name or kind,
            kind=kind,
            scripts=files,
            key=key,
            inputs=inputs,
            environment=environment or {},
            after=tuple(earlier.name for earlier in after),
        )

    system = layer("system", environment={"SYSTEM_PACKAGES": " ".join(lock.base.system_packages)})
    torch = layer(
        "torch",
        TextInput(name="requirements.txt", text=requirements_text(lock.python.torch)),
        environment=machine,
    )
    wheels = layer(
        "wheels",
        TextInput(name="requirements.txt", text=requirements_text(lock.python.wheels)),
        environment=machine,
    )
    handler = layer("handler")
    core = layer("core", TreeInput(name="tree", tree=lock.comfy), environment=interpreter)
    # The core is asked for its folders, and a new core takes the old answer away with it.
    models = layer("models", TextInput(name="folders.txt", text=_model_folders(lock)), after=[core])
    nodes = [
        layer(
            "node",
            TreeInput(name="tree", tree=node),
            environment={**interpreter, "NODE_NAME": node.name},
            name=f"node:{node.name}",
        )
        for node in sorted(lock.custom_nodes, key=lambda node: node.name)
    ]
    before = [system, torch, wheels, handler, core, models, *nodes]
    # An install script may look at everything, also at what the one before it did.
    for name in dict.fromkeys(lock.run_install_scripts):
        before.append(
            layer(
                "install",
                TextInput(name="torch.txt", text=_pins(lock.python.torch)),
                environment={**machine, "NODE_NAME": name},
                after=before,
                name=f"install:{name}",
            )
        )
    # These settings reach the engine through the manifest; here they only decide the key.
    engine = {"schema": CHECK_SCHEMA, "env": lock.env, "comfy_args": lock.comfy_args}
    check = layer(
        "check",
        TextInput(name="engine.json", text=json.dumps(engine, sort_keys=True)),
        after=before,
    )
    return Plan(platform=platform, layers=(*before, check))


def _pins(distributions: Sequence[Distribution]) -> str:
    """One `name==version` a line, as pip and uv take constraints."""
    return "".join(sorted({f"{each.name}=={each.version}\n" for each in distributions}))


def _model_folders(lock: Lock) -> str:
    """The top folders that the version's models lie in, one a line."""
    folders = {PurePosixPath(model.target_path).parts[0] for model in lock.models}
    files = {model.target_path for model in lock.models}
    return "".join(f"{folder}\n" for folder in sorted(folders - files))
