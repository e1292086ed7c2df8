"""Lock → plan: ordered layers, each with its scripts, its inputs and a content key.

Pure: it only reads the layer scripts, and starts nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from comfy_files.files import digest_of, sha256_of
from comfy_home.manifest import CHECK_SCHEMA
from runpod_comfy.cache.tree import FIRST_TIME_S
from runpod_comfy.lock.model import Distribution, Lock, LockedModel, LockedTree, PythonLock
from runpod_comfy.lock.python.building import build_table
from runpod_comfy.lock.python.fit import platforms_of
from runpod_comfy.project import LAYER_SCRIPTS
from runpod_comfy.spec.model import NODE_MODELS

LayerKind = Literal[
    "system", "torch", "wheels", "handler", "core", "models", "node", "install", "check"
]

ENVIRONMENT: tuple[LayerKind, ...] = ("torch", "wheels")
"""The layers that share the Python environment."""
NODE_PREFIX = "node:"
INSTALL_PREFIX = "install:"
"""Prefixes of the names of a node's layers, before the node's name."""

TORCH_PARTS = 4
"""A worker pulls and unpacks an image's layers in parallel, three at a time by default."""

_KEY_SCHEMA = "runpod-comfy layer key 1"


@dataclass(frozen=True, kw_only=True)
class TreeInput:
    """A tree of the lock, to be put in the folder `name` below `$INPUTS`."""

    name: str
    tree: LockedTree

    @property
    def digest(self) -> str:
        return self.tree.tree_hash


@dataclass(frozen=True, kw_only=True)
class TextInput:
    """A text, to be put in the file `name` below `$INPUTS`."""

    name: str
    text: str

    @property
    def digest(self) -> str:
        return digest_of(self.text.encode())


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One step from a lock to a working version.

    `scripts` is the script to run, then the files beside it that it uses. `environment` holds the
    layer's own variables, not those of the machine it runs on. `key` is `sha256:…` over everything
    that determines the layer's result. `after` names the earlier layers whose results it depends
    on.
    """

    name: str
    kind: LayerKind
    scripts: tuple[Path, ...]
    key: str
    inputs: tuple[TreeInput | TextInput, ...]
    environment: Mapping[str, str]
    after: tuple[str, ...] = ()

    @property
    def script(self) -> Path:
        return self.scripts[0]

    @property
    def tree(self) -> LockedTree | None:
        return next((each.tree for each in self.inputs if isinstance(each, TreeInput)), None)

    def distributions(self, python: PythonLock) -> list[Distribution]:
        """The distributions of the lock that it installs."""
        return {"torch": python.torch, "wheels": python.wheels}.get(self.kind, [])

    def variables(
        self, *, target: Literal["host", "image"], inputs: str, home: str, venv: str
    ) -> dict[str, str]:
        """The variables of its script, wherever it runs: the folder of its inputs, the home and the
        Python environment to work on.
        """
        return {
            "TARGET": target,
            "INPUTS": inputs,
            "COMFY_HOME": home,
            "VENV": venv,
            "SOURCE_DATE_EPOCH": str(self.epoch),
            **self.environment,
        }

    @property
    def epoch(self) -> int:
        """The layer's SOURCE_DATE_EPOCH, in seconds since 1970.

        It is a time in the first half of 1980, derived from the key. The lock's epoch changes with
        every node, and would change torch too; a single constant time would let a browser confuse
        cached pages of different versions.
        """
        return FIRST_TIME_S + int(self.key.removeprefix("sha256:")[:6], 16)


def layer_key(
    kind: LayerKind,
    *,
    scripts: Sequence[Path],
    inputs: Sequence[TreeInput | TextInput],
    environment: Mapping[str, str],
    after: Sequence[str] = (),
) -> str:
    """The key of a layer; `after` are the keys of earlier layers that its content depends on."""
    projection = {
        "schema": _KEY_SCHEMA,
        "kind": kind,
        "scripts": [[script.name, sha256_of(script)] for script in scripts],
        "inputs": [[each.name, each.digest] for each in inputs],
        "environment": sorted(environment.items()),
        "after": list(after),
    }
    text = json.dumps(projection, separators=(",", ":"))
    return digest_of(text.encode())


# Models of nodes; and a name under which the core would look for nodes.
_NOT_FOLDERS = {NODE_MODELS, "custom_nodes"}
_SHARED = "steps.sh"
_COMPILER = "compile_bytecode.py"
_INSTALLING = (_SHARED, _COMPILER, "shared_files.py")
_USES: dict[LayerKind, tuple[str, ...]] = {
    "torch": _INSTALLING,
    "wheels": _INSTALLING,
    "handler": _INSTALLING,
    "core": (_SHARED, _COMPILER),
    "models": (_SHARED, "model_folders.py"),
    "node": (_SHARED, _COMPILER, "node_models.py"),
    "install": (_SHARED, _COMPILER, "run_install.py", "install_watch.py"),
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The layers of a lock in build order: large and stable ones first."""

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
        TextInput(name="requirements.txt", text=_torch_text(lock.python, platform)),
        *_installer_settings(lock.python, lock.python.torch),
        environment=machine,
    )
    wheels = layer(
        "wheels",
        TextInput(name="requirements.txt", text=requirements_text(lock.python.wheels)),
        *_installer_settings(lock.python, lock.python.wheels),
        environment=machine,
    )
    handler = layer("handler")
    core = layer("core", TreeInput(name="tree", tree=lock.comfy), environment=interpreter)
    # The core reports its folders, so a new core makes this layer again.
    models = layer("models", TextInput(name="folders.txt", text=_model_folders(lock)), after=[core])
    nodes = [
        layer(
            "node",
            TreeInput(name="tree", tree=node),
            *_models_of(node.name, lock),
            environment={**interpreter, "NODE_NAME": node.name},
            name=NODE_PREFIX + node.name,
        )
        for node in sorted(lock.custom_nodes, key=lambda node: node.name)
    ]
    before = [system, torch, wheels, handler, core, models, *nodes]
    # An install script may read anything, including results of the previous one.
    for name in dict.fromkeys(lock.run_install_scripts):
        before.append(
            layer(
                "install",
                TextInput(name="torch.txt", text=_pins(lock.python.torch)),
                environment={**machine, "NODE_NAME": name},
                after=before,
                name=INSTALL_PREFIX + name,
            )
        )
    # These settings reach the engine through the manifest; here they only affect the key.
    engine = {
        "schema": CHECK_SCHEMA,
        "env": lock.env,
        "comfy_args": lock.comfy_args,
        "import_needs": lock.import_needs,
    }
    check = layer(
        "check",
        TextInput(name="engine.json", text=json.dumps(engine, sort_keys=True)),
        after=before,
    )
    return Plan(platform=platform, layers=(*before, check))


def _installer_settings(
    python: PythonLock, distributions: Sequence[Distribution]
) -> list[TextInput]:
    """What the spec says that these need to be built, for the installer; empty without any."""
    names = {each.name for each in distributions}
    asked = {name: needs for name, needs in python.build_requirements.items() if name in names}
    return [TextInput(name="uv.toml", text=build_table(asked))] if asked else []


def _torch_text(python: PythonLock, platform: str) -> str:
    """The group `torch` in the order in which an image installs it, which decides whose file is
    kept where two distributions have different ones.
    """
    parts = torch_parts(python, platform)
    here = [distribution for part in parts for distribution in part]
    others = [distribution for distribution in python.torch if distribution not in here]
    return "".join(map(requirements_text, [*parts, others]))


def torch_parts(python: PythonLock, platform: str) -> list[list[Distribution]]:
    """The group `torch` on a platform, as the steps of an image install it: between one and
    `TORCH_PARTS` lists of about equal size in bytes, the largest file first.
    """
    dealt: list[list[Distribution]] = [[]]
    sizes = [0]
    distributions = installed_on(platform, python.torch, python.version)
    for each in sorted(distributions, key=lambda one: (-_size(one), one.name)):
        if dealt[-1] and len(dealt) < TORCH_PARTS and _size(each) > min(sizes) / 2:
            dealt.append([])
            sizes.append(0)
        least = sizes.index(min(sizes))
        dealt[least].append(each)
        sizes[least] += _size(each)
    return dealt


def _size(distribution: Distribution) -> int:
    """The size of its largest file: files of one release differ little between machines."""
    return max((file.size or 0 for file in distribution.files), default=0)


def installed_on(
    platform: str, distributions: Sequence[Distribution], python: str
) -> list[Distribution]:
    """The distributions that the platform needs under Python `python`."""
    return [
        each
        for each in distributions
        if platforms_of(each.marker, python=python, platforms=[platform])
    ]


def _pins(distributions: Sequence[Distribution]) -> str:
    """One `name==version` per line, a constraints file for pip and uv."""
    return "".join(sorted({f"{each.name}=={each.version}\n" for each in distributions}))


def _model_folders(lock: Lock) -> str:
    """The top-level folders of the version's models that the core gets to know, one per line."""
    folders = {PurePosixPath(model.target_path).parts[0] for model in lock.models}
    files = {model.target_path for model in lock.models}
    return "".join(f"{folder}\n" for folder in sorted(folders - files - _NOT_FOLDERS))


def node_links(node: str, models: Sequence[LockedModel]) -> dict[str, str]:
    """The links to models in the folder of `node`: path there → target, below `ComfyUI/models`."""
    folder = f"{NODE_MODELS}/{node}/"
    places = sorted(model.target_path for model in models if model.target_path.startswith(folder))
    return {
        (path := place.removeprefix(folder)): f"{'../' * (path.count('/') + 2)}models/{place}"
        for place in places
    }


def _models_of(node: str, lock: Lock) -> list[TextInput]:
    links = node_links(node, lock.models)
    return [TextInput(name="models.json", text=json.dumps(links, sort_keys=True))] if links else []


def requirements_text(distributions: Sequence[Distribution]) -> str:
    """One requirement per distribution, sorted by name: `name==version ; marker --hash=sha256:…`.

    The installer evaluates the markers, so the text is the same on every platform. Where two
    distributions have different files at one place, the later one's is kept.
    """
    ordered = sorted(distributions, key=lambda each: (each.name, each.version, each.marker or ""))
    return "".join(_requirement(distribution) for distribution in ordered)


def _requirement(distribution: Distribution) -> str:
    marker = f" ; {distribution.marker}" if distribution.marker else ""
    hashes = sorted({file.sha256 for file in distribution.files})
    lines = [f"{distribution.name}=={distribution.version}{marker}"]
    lines += [f"    --hash=sha256:{sha256}" for sha256 in hashes]
    return " \\\n".join(lines) + "\n"
