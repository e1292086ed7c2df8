"""What to do about a node that does not import: looks at its exception, its files and the version.

A remedy is chosen by the first of these that holds; what its files lack is said in addition.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from comfy_errors.names import as_options, listed
from comfy_files.lfs import POINTER_START
from comfy_home.distributions import distribution_of
from comfy_home.import_needs import GPU, VARIABLE, needs_in_words
from comfy_home.layout import HomeLayout
from comfy_home.manifest import Manifest, ManifestNode
from rp_handler.engine.import_faults import ImportFault, refused_write
from rp_handler.engine.imports import Raised

# Modules whose name on the package index belongs to another project.
_AMBIGUOUS = frozenset({"clip", "utils", "models", "modules", "config"})
_CORE_MODULES = frozenset(
    {"app", "comfy", "comfy_api", "comfy_config", "comfy_execution", "comfy_extras"}
    | {"execution", "folder_paths", "latent_preview", "node_helpers", "nodes", "server"}
)
_OF_GPU = re.compile(r"\bCUDA|\bcuda|NVIDIA|nvidia|libcu|\bGPU|\bHIP\b|ROCm")
_QUOTED_KEY = re.compile(r"'([A-Z][A-Z0-9_]{2,})'")
_OF_VARIABLE = re.compile(
    r"environ|variable|\benv\b|\bset|missing|require|not found", re.IGNORECASE
)
_VARIABLE_NAME = re.compile(r"\b([A-Z][A-Z0-9]*_[A-Z0-9_]+)\b")
WRITABLE = (
    "If it wants to install packages, name them in options.requirements of the spec; if it has to "
    f"write to its packages, allow that: {as_options(writable_environment=True)}. Then resolve."
)
"""What to do about a node that changes the Python environment."""
_LARGEST_POINTER_BYTES = 1024
_MOST_FILES = 20_000


def remedy_for(fault: ImportFault, home: HomeLayout, manifest: Manifest) -> str:
    """The next step for the version at `home` whose node package has this fault."""
    if not fault.is_custom:
        return _core_remedy(fault)
    names = (fault.name, fault.name.removesuffix(".py"))
    node = next((node for node in manifest.nodes if node.name in names), None)
    folder = home.custom_nodes / fault.name
    if node is None and fault.name in home.nodes_of_core():
        return _core_remedy(fault)
    hints = list(_hints(fault, home, node, manifest))
    if node is None:
        return " ".join(
            [
                f"{folder} is not part of this version: added by hand. Move it out of "
                "custom_nodes, or add it to the spec and resolve.",
                *hints,
            ]
        )
    return " ".join(hints) or _last_resort(fault, node)


def _hints(
    fault: ImportFault, home: HomeLayout, node: ManifestNode | None, manifest: Manifest
) -> Iterator[str]:
    folder = home.custom_nodes / fault.name
    if fault.event is not None and refused_write(fault.event, home.comfyui):
        yield WRITABLE
    pointers = lfs_pointers(folder)
    if pointers:
        yield (
            f"It has files that are only Git LFS pointers ({listed(pointers, at_most=3)}): use an "
            "archive of the node that has their content."
        )
    module = _missing_module(fault.chain)
    is_listed = f"install:{fault.name}" in manifest.layers
    has_script = (folder / "install.py").is_file() and not is_listed
    if module is not None and not _is_own_module(module, folder):
        if node is not None and node.requirements_above:
            yield (
                f"Its {node.requirements_above} lies above its subdir ({node.subdir}) and is not "
                "read: add its lines to options.requirements in the spec, then resolve."
            )
        elif module.partition(".")[0] in _CORE_MODULES:
            yield (
                f"This ComfyUI has no module {module}: use a version of the node for this ComfyUI, "
                "or another ComfyUI; then resolve."
            )
        elif not has_script:
            yield _missing_distribution(module, node)
    if node is not None and (need := _likely_need(fault.chain, manifest)):
        known = [*manifest.import_needs.get(fault.name, []), need]
        yield (
            f"If it can only be imported with {needs_in_words([need])}, which this machine lacks, "
            f"say so in the spec: {as_options(import_needs={fault.name: known})}. Then resolve."
        )
    if has_script and fault.chain:
        yield (
            "It has an install.py, which did not run. If you trust it, add to the spec: "
            f"{as_options(run_install_scripts=[fault.name])}. Then resolve."
        )
    if fault.fault.startswith("has neither"):
        yield (
            "If its nodes are in a folder of its repository, set 'subdir' to it; a node without "
            "any needs NODE_CLASS_MAPPINGS = {}; then resolve."
        )
    if not fault.chain and "never executed" in fault.fault:
        arguments = [one for one in manifest.comfy_args if "custom-node" in one]
        if arguments:
            yield f"Remove {listed(arguments)} from options.comfy_args in the spec, then resolve."


def _missing_distribution(module: str, node: ManifestNode | None) -> str:
    """How to get the distribution that has a module."""
    top = module.partition(".")[0]
    name = distribution_of(module)
    if name is None:
        known = "" if top in _AMBIGUOUS else f", probably of the distribution {top}"
        name = "NAME" if top in _AMBIGUOUS else top
        what = f"It imports {module}{known}, which is not installed."
    else:
        what = f"{name} provides {top}, and is not installed."
    if node is not None and node.repo is None:
        return f"{what} Add {name} to the requirements.txt of the node, then resolve."
    return f"{what} Add to the spec: {as_options(requirements=[name])}. Then resolve."


def _likely_need(chain: Sequence[Raised], manifest: Manifest) -> str | None:
    """What the machine probably lacks, by the exception and its causes."""
    for raised in chain:
        if _OF_GPU.search(raised.in_words) and manifest.unmet_here([GPU], os.environ):
            return GPU
        key = _QUOTED_KEY.fullmatch(raised.message) if raised.type == "KeyError" else None
        if _OF_VARIABLE.search(raised.message):
            key = key or _VARIABLE_NAME.search(raised.message)
        if key and (unmet := manifest.unmet_here([f"{VARIABLE}{key[1]}"], os.environ)):
            return unmet[0]
    return None


def _core_remedy(fault: ImportFault) -> str:
    module = _missing_module(fault.chain)
    if module is not None:
        top = module.partition(".")[0]
        name = distribution_of(module) or top
        return (
            f"This is ComfyUI's own module, and its requirements do not bring {module}: add to the "
            f"spec: {as_options(requirements=[name])}. Then resolve."
        )
    return (
        "This is ComfyUI's own module: a package of the version may be too new or too old for it. "
        "Set another release with options.constraints or options.overrides in the spec, or use "
        "another version of ComfyUI; then resolve."
    )


def _last_resort(fault: ImportFault, node: ManifestNode) -> str:
    renamed = next((one for one in fault.chain if one.type == "ImportError" and one.module), None)
    other = ""
    if renamed is not None and renamed.module is not None:
        other = (
            f" Another release of the distribution with {renamed.module.partition('.')[0]} may "
            "fit: options.constraints or options.overrides in the spec."
        )
    if node.repo is None:
        return f"Correct the node where it comes from, then resolve.{other}"
    return (
        f"Use another version of {node.name}, report this to its author ({node.repo}), or remove "
        f"the node; then resolve.{other}"
    )


def _missing_module(chain: Iterable[Raised]) -> str | None:
    """The module that was not found, in an exception or its causes."""
    return next((it.module for it in chain if it.type == "ModuleNotFoundError"), None)


def _is_own_module(module: str, folder: Path) -> bool:
    """True for a module that the node itself should have: a relative import is named after the path
    of the node.
    """
    top = module.partition(".")[0]
    is_own = top == folder.name or top.startswith("/") or re.fullmatch(r"[\w-]+", top) is None
    return is_own or (folder / top).exists() or (folder / f"{top}.py").exists()


def lfs_pointers(folder: Path) -> list[str]:
    """The files below `folder` that only name content in Git LFS, relative to it, sorted."""
    files = (Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
    pointers = filter(_is_pointer, islice(files, _MOST_FILES))
    return sorted(path.relative_to(folder).as_posix() for path in pointers)


def _is_pointer(path: Path) -> bool:
    try:
        if path.is_symlink() or path.stat().st_size > _LARGEST_POINTER_BYTES:
            return False
        with path.open("rb") as stream:
            return stream.read(len(POINTER_START)) == POINTER_START
    except OSError:
        return False
