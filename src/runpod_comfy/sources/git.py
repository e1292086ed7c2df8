"""A git repository as a tree: its pin is a commit."""

from __future__ import annotations

from comfy_errors import MismatchError, UnavailableError
from runpod_comfy.sources.git_checkout import check_out
from runpod_comfy.sources.git_process import GitFailedError
from runpod_comfy.sources.git_refs import is_commit, list_refs, resolve_ref
from runpod_comfy.sources.git_repository import GitRepository, history_holds
from runpod_comfy.sources.redaction import without_secrets
from runpod_comfy.sources.tree import FetchedTree, Surroundings, TreeRequest, pinned
from runpod_comfy.sources.tree_store import TreeStore


class GitSource:
    """The TreeSource of git repositories."""

    def pin(self, request: TreeRequest, surroundings: Surroundings) -> str:
        if request.commit is None:
            return resolve_ref(request.repo, request.ref, surroundings)
        if request.ref is not None and not surroundings.offline:
            _confirm(request.repo, request.ref, request.commit, surroundings)
        return request.commit

    def fetch(self, request: TreeRequest, surroundings: Surroundings) -> FetchedTree:
        if request.commit is None:
            request = pinned(request, self.pin(request, surroundings))
        commit = request.commit
        assert commit is not None
        store = TreeStore(cache=surroundings.cache)
        entry = store.find(request)
        if entry is not None:
            return entry
        repository = GitRepository.of(request.repo, surroundings.cache)
        repository.ensure(commit, surroundings)
        return store.enter(
            request,
            lambda folder: check_out(
                repository, commit, folder, surroundings, subdir=request.subdir
            ),
        )


def warn_of_foreign_commit(request: TreeRequest, surroundings: Surroundings) -> None:
    """Says so if the commit of a pinned request is not in the history of its ref, as one that only
    a fork has, or one from before a force-push. Offline nobody is asked and nothing is said."""
    if request.ref is None or request.commit is None or surroundings.offline:
        return
    try:
        _confirm(request.repo, request.ref, request.commit, surroundings)
    except MismatchError as error:
        surroundings.say(f"Warning: {error.message}. {error.remedy}")
    except UnavailableError as error:
        surroundings.say(
            f"Warning: whether {request.commit} is in the history of '{request.ref}' "
            f"could not be checked: {error.message}"
        )


def _confirm(repo: str, ref: str, commit: str, surroundings: Surroundings) -> None:
    """A commit given with a ref must be one that the ref has or had in its history."""
    shown = without_secrets(repo)
    if is_commit(ref):
        if ref.lower() != commit:
            raise MismatchError(
                f"'ref' and 'commit' of {shown} are two different commits: {ref} and {commit}",
                remedy="Keep one of them.",
            )
        return
    tip = resolve_ref(repo, ref, surroundings)
    if tip == commit:
        return
    full_name = list_refs(repo, ref, surroundings).full_name(ref) or ref
    try:
        held = history_holds(repo, full_name, commit, surroundings.cache)
    except GitFailedError as error:
        raise UnavailableError(
            f"the history of '{ref}' in {shown} cannot be read: {error.reason}",
            remedy=f"Check your access to it: git ls-remote {shown}",
        ) from error
    if not held:
        raise MismatchError(
            f"commit {commit} is not in the history of '{ref}' in {shown}; "
            "it may come from a fork or from before a force-push",
            remedy="Leave 'ref' out if that commit is meant, or leave 'commit' out to take "
            f"the newest of '{ref}' ({tip}).",
        )
