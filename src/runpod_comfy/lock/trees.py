"""Pins the trees of a spec and fetches them into the cache: refs become commits here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from comfy_errors import ComfyError, InvalidInputError, MismatchError
from comfy_errors.names import listed, nearest
from comfy_files.parallel import in_parallel
from comfy_files.progress import Say
from comfy_home.tree_hash import MODULE_FILE
from runpod_comfy.cache.tree import FetchContext, FetchedTree, TreeRequest, TreeStore
from runpod_comfy.lock.model import Lock, LockedNode, LockedTree, Submodule
from runpod_comfy.lock.requirements.read import REQUIREMENTS
from runpod_comfy.lock.upgrade import Upgrade, trees_of
from runpod_comfy.sources.archive import ArchiveSource
from runpod_comfy.sources.git.source import warn_of_foreign_commit
from runpod_comfy.sources.kinds import TreeSource, look_up, source_of
from runpod_comfy.sources.pypi import refuse_foreign_file
from runpod_comfy.spec.model import CustomNode, Spec, Tree
from runpod_comfy.spec.write import TreePlace

_CORE_FILES = ("main.py", "folder_paths.py")
_ARGUMENTS = "comfy/cli_args.py"
# Python files of a node that define no nodes.
_NO_NODES = ("install.py", "prestartup_script.py", "setup.py")


@dataclass(frozen=True, kw_only=True)
class PinnedTree:
    """A tree of the spec as it will be in the lock, with its files in the cache."""

    locked: LockedTree
    fetched: FetchedTree


def pin_trees(
    spec: Spec, previous: Lock | None, upgrade: Upgrade, fetch_context: FetchContext
) -> list[PinnedTree | ComfyError]:
    """The core, then the nodes, each with its files or its error."""

    def pin(item: tuple[TreePlace, Tree]) -> PinnedTree | ComfyError:
        place, tree = item
        known = _previous_tree(tree, previous)
        try:
            return _fetch(tree, fetch_context, known, keep_pin=upgrade.keeps(place))
        except ComfyError as error:
            return error.within(f"node {tree.name}" if isinstance(tree, CustomNode) else "the core")

    return in_parallel(pin, trees_of(spec))


def refuse_what_is_no_core(core: PinnedTree) -> None:
    """Raises InvalidInputError for a tree that lacks ComfyUI's files."""
    tree = core.locked
    missing = [name for name in _CORE_FILES if not (core.fetched.path / name).is_file()]
    if missing:
        inside = f" in {tree.subdir}" if tree.subdir else ""
        files = " and no ".join(missing)
        raise InvalidInputError(
            f"{tree.repo} at {tree.commit} is not ComfyUI: it has no {files}{inside}",
            remedy="Correct 'comfy' in the spec; if ComfyUI is in a folder there, set 'subdir' "
            "to it.",
        )


def refuse_unknown_arguments(arguments: Sequence[str], core: Path) -> None:
    """Raises InvalidInputError for options of ComfyUI that the core at `core` does not have.

    Like argparse, it takes the beginning of an option for the option.
    """
    try:
        code = (core / _ARGUMENTS).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    known = set(re.findall(r"""['"](--[a-z][\w-]*)['"]""", code))
    options = [argument.partition("=")[0] for argument in arguments if argument.startswith("--")]
    unknown = [name for name in options if not any(each.startswith(name) for each in known)]
    if not known or not unknown:
        return
    meant = [f"{name} is probably {near}" for name in unknown if (near := nearest(name, known))]
    raise InvalidInputError(
        f"'options.comfy_args' has {' and '.join(unknown)}, which this ComfyUI does not know",
        remedy=f"Correct them: {'; '.join(meant)}." if meant else "Remove them from the spec.",
    )


def _report_unimportable(node: CustomNode, folder: Path, say: Say) -> None:
    """Warns of a node that ComfyUI will not import, and names the parts of it that it could."""
    if (folder / MODULE_FILE).is_file():
        return
    parts = sorted(folder.iterdir())
    files = [path.name for path in parts if path.suffix == ".py" and path.name not in _NO_NODES]
    folders = [path.parent.name for path in sorted(folder.glob(f"*/{MODULE_FILE}"))]
    inside = [f"{node.subdir}/{name}" if node.subdir else name for name in (*folders, *files)]
    hint = f" Set its 'subdir' to the one to import: {listed(inside, at_most=5)}." if inside else ""
    say(
        f"Warning: node {node.name} has no {MODULE_FILE}, without which ComfyUI does not import "
        f"it.{hint}"
    )


def _fetch(
    tree: Tree, fetch_context: FetchContext, known: LockedTree | None, *, keep_pin: bool
) -> PinnedTree:
    source = source_of(tree.kind)
    kept = known.commit if known and keep_pin else None
    request = TreeRequest(repo=tree.repo, ref=tree.ref, commit=tree.commit, subdir=tree.subdir)
    commit = tree.commit or kept or look_up(request, source, fetch_context)
    request = replace(request, commit=commit)
    title = tree.name if isinstance(tree, CustomNode) else "the core"
    if TreeStore(cache=fetch_context.cache).find(request) is None:
        fetch_context.say(f"Fetching {title} at {commit.removeprefix('sha256:')[:12]}")
    # Once: from now on the lock has this commit, and it is not checked again.
    is_new_commit = tree.commit is not None and known is None
    if is_new_commit and isinstance(source, ArchiveSource):
        source.refuse_foreign_archive(request, fetch_context)
    fetched = source.fetch(request, fetch_context)
    if isinstance(tree, CustomNode):
        _report_unimportable(tree, fetched.path, fetch_context.say)
    if is_new_commit:
        _check_commit(tree, request, fetch_context)
    if known and known.commit == commit and known.tree_hash != fetched.tree_hash:
        raise MismatchError(
            f"{tree.repo} at {commit} has the files {fetched.tree_hash}, but the lock has "
            f"{known.tree_hash}",
            remedy="The source served different bytes for the same commit; find out why before "
            "continuing.",
        )
    found = {
        "commit": commit,
        "tree_hash": fetched.tree_hash,
        "submodules": [Submodule(**vars(item)) for item in fetched.submodules],
    }
    if not isinstance(tree, CustomNode):
        return PinnedTree(locked=LockedTree(**(tree.model_dump() | found)), fetched=fetched)
    if isinstance(known, LockedNode) and known.commit == commit:
        above = known.requirements_above
    else:
        above = _requirements_above(request, fetched, source, fetch_context)
        if above is not None:
            fetch_context.say(
                f"Warning: {above} of {tree.name} lies above its subdir ({tree.subdir}) and is "
                "not read"
            )
    node = LockedNode(**(tree.model_dump() | found), requirements_above=above)
    return PinnedTree(locked=node, fetched=fetched)


def _requirements_above(
    request: TreeRequest, fetched: FetchedTree, source: TreeSource, fetch_context: FetchContext
) -> str | None:
    """The nearest requirements.txt above a tree's `subdir`, if the tree has none itself."""
    if request.subdir is None or (fetched.path / REQUIREMENTS).is_file():
        return None
    above = [(folder / REQUIREMENTS).as_posix() for folder in PurePosixPath(request.subdir).parents]
    return next((path for path in above if source.has_file(request, path, fetch_context)), None)


def _check_commit(tree: Tree, request: TreeRequest, fetch_context: FetchContext) -> None:
    """Whether a commit of the spec is one of its ref, which a person may have changed alone.

    That of an archive is checked before it is fetched.
    """
    if tree.kind == "git":
        warn_of_foreign_commit(request, fetch_context)
    elif tree.kind == "pypi":
        refuse_foreign_file(request, fetch_context)


def _previous_tree(tree: Tree, previous: Lock | None) -> LockedTree | None:
    """The previous lock's tree for this repository, ref and `subdir`; None for a folder, which is
    always hashed again.
    """
    if previous is None or tree.kind == "folder":
        return None
    asked = (tree.repo, tree.ref, tree.subdir)
    return next(
        (
            known
            for known in previous.trees
            if (known.repo, known.ref, known.subdir) == asked
            and tree.commit in (None, known.commit)
        ),
        None,
    )
