"""`--upgrade [NAME]`: which pins may change, and the commits in the spec that change with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from packaging.utils import canonicalize_name

from comfy_errors import InvalidInputError
from comfy_errors.names import nearest_names
from comfy_files.parallel import in_parallel
from comfy_http.redaction import without_secrets
from runpod_comfy.cache.tree import FetchContext, TreeRequest
from runpod_comfy.lock.model import Lock, LockedModel, PythonLock, UnhashedModel
from runpod_comfy.lock.python.torch_family import FAMILY
from runpod_comfy.sources.git.source import is_commit, is_short_for, list_refs
from runpod_comfy.sources.kinds import source_of
from runpod_comfy.spec.load import LoadedSpec
from runpod_comfy.spec.model import CustomNode, Spec, Tree
from runpod_comfy.spec.write import CORE_PLACE, TreePlace


@dataclass(frozen=True, kw_only=True)
class Upgrade:
    """The pins to release. `trees` are positions in the spec, `distributions` normalized names,
    `models` paths below the models folder. `everything` also covers what is not in the lock yet.
    """

    everything: bool = False
    trees: frozenset[TreePlace] = frozenset()
    distributions: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()

    def keeps(self, place: TreePlace) -> bool:
        """True if the pin of that tree is kept."""
        return not self.everything and place not in self.trees

    def kept_python(self, previous: Lock | None) -> PythonLock | None:
        """The pins of Python distributions that are kept."""
        if previous is None or self.everything:
            return None
        groups = {"torch": previous.python.torch, "wheels": previous.python.wheels}
        return previous.python.model_copy(
            update={
                group: [item for item in items if item.name not in self.distributions]
                for group, items in groups.items()
            }
        )

    def kept_models(self, previous: Lock | None) -> list[LockedModel | UnhashedModel]:
        """The pins of models that are kept."""
        if previous is None or self.everything:
            return []
        known: list[LockedModel | UnhashedModel] = [*previous.models, *previous.unhashed_models]
        return [model for model in known if not self._releases(PurePosixPath(model.target_path))]

    def _releases(self, place: PurePosixPath) -> bool:
        """True for the place of a model, and for one in a folder that is one model of the spec."""
        return any(place.is_relative_to(released) for released in self.models)


def trees_of(spec: Spec) -> list[tuple[TreePlace, Tree]]:
    """The core and the nodes, each with its position in the spec."""
    return [(CORE_PLACE, spec.comfy), *enumerate(spec.custom_nodes)]


def title_of(tree: Tree) -> str:
    """The name of a node, or `core`."""
    return tree.name if isinstance(tree, CustomNode) else CORE_PLACE


NO_UPGRADE = Upgrade()
UPGRADE_ALL = Upgrade(everything=True)


def folder_upgrade(spec: Spec) -> Upgrade:
    """An upgrade that accepts the changes in folders, and changes no other pin."""
    return Upgrade(trees=frozenset(at for at, tree in trees_of(spec) if tree.kind == "folder"))


def upgrade_of(
    names: Sequence[str],
    spec: Spec,
    previous: Lock | None,
    *,
    is_version: Callable[[str], bool],
) -> Upgrade:
    """The pins these names refer to: `core`, a node, a distribution, `torch`, a model; all that
    match.

    Raises InvalidInputError for an unknown name; `is_version` recognises the id of a version, which
    is an easy mistake.
    """
    found = [_meaning(name, spec, previous, is_version) for name in names]
    return Upgrade(
        trees=frozenset().union(*(each.trees for each in found)),
        distributions=frozenset().union(*(each.distributions for each in found)),
        models=frozenset().union(*(each.models for each in found)),
    )


def _meaning(
    name: str, spec: Spec, previous: Lock | None, is_version: Callable[[str], bool]
) -> Upgrade:
    distributions = {item.name for item in previous.python.distributions} if previous else set()
    title = CORE_PLACE if name == "comfy" else name
    trees = [(place, title_of(tree)) for place, tree in trees_of(spec)]
    meant = Upgrade(
        trees=frozenset(place for place, each in trees if each in (name, title)),
        distributions=frozenset(_distributions(name, previous) & distributions),
        models=frozenset(model.place for model in spec.models if name in (model.name, model.place)),
    )
    if meant != NO_UPGRADE:
        return meant
    if is_version(name):
        raise InvalidInputError(
            f"--upgrade: '{name}' is a version, not a part of one",
            remedy=f"Name the version first: runpod-comfy resolve {name} --upgrade",
        )
    known = [*(each for _, each in trees), *(model.name for model in spec.models)]
    near = nearest_names(name, [*known, *sorted(distributions), "torch"])
    raise InvalidInputError(
        f"--upgrade: '{name}' is not a part of the version {spec.version_id}",
        remedy=f"Similar names: {', '.join(near)}."
        if near
        else "Name 'core', 'torch', a custom node, a model, or a distribution of the lock.",
    )


def _distributions(name: str, previous: Lock | None) -> set[str]:
    plain = str(canonicalize_name(name))
    if plain in FAMILY and previous is not None:
        # Its packages and their companions are compiled for each other.
        return {item.name for item in previous.python.torch}
    return {plain}


@dataclass(frozen=True, kw_only=True)
class MovedPin:
    """A `commit` in the spec, and its replacement."""

    place: TreePlace
    title: str
    before: str
    after: str


def moved_pins(spec: Spec, upgrade: Upgrade, fetch_context: FetchContext) -> list[MovedPin]:
    """The commits of the spec that an upgrade changes: those of branches and folders.

    Fixed choices are kept: tags, full commits, versions, archives. Raises UnavailableError for a
    repository that cannot be reached.
    """
    asked = [
        (place, tree, tree.commit)
        for place, tree in trees_of(spec)
        if tree.commit is not None and not upgrade.keeps(place)
    ]
    newest = in_parallel(lambda item: _newest(item[1], fetch_context), asked)
    moved = []
    for (place, tree, before), after in zip(asked, newest, strict=True):
        title = title_of(tree)
        if after is None and place in upgrade.trees:
            fetch_context.say(
                f"{title} stays at {tree.ref or before}, as the spec says; to change it, edit "
                "the spec"
            )
        elif after not in (None, before):
            moved.append(MovedPin(place=place, title=title, before=before, after=after))
    return moved


def with_moved_pins(loaded: LoadedSpec, moved: Sequence[MovedPin]) -> LoadedSpec:
    """The spec with its new commits; the file is not changed."""
    commits = {pin.place: {"commit": pin.after} for pin in moved}
    core, *nodes = (
        tree.model_copy(update=commits.get(place)) for place, tree in trees_of(loaded.spec)
    )
    return LoadedSpec(
        spec=loaded.spec.model_copy(update={"comfy": core, "custom_nodes": nodes}),
        path=loaded.path,
    )


def _newest(tree: Tree, fetch_context: FetchContext) -> str | None:
    """The commit that the tree could move to, None if there is no newer one."""
    if tree.kind == "folder":
        request = TreeRequest(repo=tree.repo, subdir=tree.subdir)
        return source_of("folder").pin(request, fetch_context)
    if tree.kind != "git" or tree.ref is None or is_commit(tree.ref):
        return None
    refs = list_refs(tree.repo, tree.ref, fetch_context)
    if refs.full_name(tree.ref) is None and is_short_for(tree.ref, tree.commit or ""):
        return None
    commit = refs.known_commit(tree.ref)
    if not (refs.full_name(tree.ref) or "").startswith("refs/tags/"):
        return commit
    if commit != tree.commit:
        fetch_context.say(
            f"Warning: the tag '{tree.ref}' of {without_secrets(tree.repo)} is now {commit}; "
            f"{title_of(tree)} stays at {tree.commit}, as the spec says"
        )
    return None
