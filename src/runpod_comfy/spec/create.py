"""`create`: from the words of a command line to a spec in which every ref is resolved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from comfy_errors import InvalidInputError, UnavailableError
from runpod_comfy.spec.asked import Folders
from runpod_comfy.spec.asked_models import LocalModels, Say, read_models
from runpod_comfy.spec.asked_trees import read_core, read_nodes
from runpod_comfy.spec.load import check_version_id, parse_spec
from runpod_comfy.spec.model import Spec, Tree
from runpod_comfy.spec.write import spec_text

Settle = Callable[[Sequence[Tree]], Sequence[Tree]]


def create_spec(
    version_id: str,
    *,
    repo: str,
    nodes: Sequence[str],
    models: Sequence[str],
    models_root: Path | None,
    auto_checksum: bool,
    output: Path,
    working_dir: Path,
    settle: Settle,
    say: Say,
) -> Spec:
    """The spec that the arguments of `create` ask for. Writes nothing.

    `repo` and each of `nodes` are `URL@ref#subdir=a/b`; a node may also be a JSON object or the
    path of a JSON file, and each of `models` is one of these two. `output` is the file that the
    spec is for: relative paths are rewritten from `working_dir` to its folder. `settle` fills in
    `ref` and `commit` of trees, whose relative paths are from that folder too.
    Raises what `settle` raises, InvalidInputError for anything that is not understood,
    UnavailableError for a local file that is not there, MismatchError for a checksum that does
    not hold.
    """
    check_version_id(version_id)
    # Without links, so that `..` in a rewritten path leads where it seems to.
    folders = Folders(working=working_dir.resolve(), spec=output.parent.resolve())
    local = LocalModels(
        root=_existing(models_root, working_dir), auto_checksum=auto_checksum, say=say
    )
    if local.root is not None and not auto_checksum:
        say("--models-root is only used with --auto-checksum")
    asked = Spec(
        schema_version=2,
        version_id=version_id,
        comfy=read_core(repo, folders),
        custom_nodes=[node for text in nodes for node in read_nodes(text, folders)],
        models=[model for text in models for model in read_models(text, folders, local)],
    )
    spec = _settled(asked, settle)
    return parse_spec(spec_text(spec), where=f"the new spec '{version_id}'")


def _settled(spec: Spec, settle: Settle) -> Spec:
    core, *trees = settle([spec.comfy, *spec.custom_nodes])
    nodes = [
        node.model_copy(update={"ref": tree.ref, "commit": tree.commit})
        for node, tree in zip(spec.custom_nodes, trees, strict=True)
    ]
    return spec.model_copy(update={"comfy": core, "custom_nodes": nodes})


def _existing(models_root: Path | None, working_dir: Path) -> Path | None:
    if models_root is None:
        return None
    root = working_dir / models_root
    if not root.exists():
        raise UnavailableError(
            f"--models-root: there is no folder {root}", remedy="Check the path."
        )
    if not root.is_dir():
        raise InvalidInputError(f"--models-root: {root} is not a folder", remedy="Name a folder.")
    return root
