"""A git repository as a tree: its pin is a commit."""

from __future__ import annotations

from comfy_errors import MismatchError, UnavailableError
from comfy_http.redaction import without_secrets
from runpod_comfy.cache.tree import FetchContext, FetchedTree, TreeRequest, pinned
from runpod_comfy.cache.tree_store import TreeStore
from runpod_comfy.sources.git.checkout import check_out
from runpod_comfy.sources.git.process import GitFailedError
from runpod_comfy.sources.git.refs import is_commit, list_refs, resolve_ref
from runpod_comfy.sources.git.repository import GitRepository, history_holds


class GitSource:
    """The TreeSource of git repositories."""

    def pin(self, request: TreeRequest, fetch_context: FetchContext) -> str:
        if request.commit is None:
            return resolve_ref(request.repo, request.ref, fetch_context)
        if request.ref is not None and not fetch_context.offline:
            _confirm(request.repo, request.ref, request.commit, fetch_context)
        return request.commit

    def fetch(self, request: TreeRequest, fetch_context: FetchContext) -> FetchedTree:
        if request.commit is None:
            request = pinned(request, self.pin(request, fetch_context))
        commit = request.commit
        assert commit is not None
        store = TreeStore(cache=fetch_context.cache)
        entry = store.find(request)
        if entry is not None:
            return entry
        repository = GitRepository.of(request.repo, fetch_context.cache)
        repository.ensure(commit, fetch_context)
        return store.enter(
            request,
            lambda folder: check_out(
                repository, commit, folder, fetch_context, subdir=request.subdir
            ),
        )


def warn_of_foreign_commit(request: TreeRequest, fetch_context: FetchContext) -> None:
    """Says so if the commit of a pinned request is not in the history of its ref, as one that only
    a fork has, or one from before a force-push. Offline nobody is asked and nothing is said."""
    if request.ref is None or request.commit is None or fetch_context.offline:
        return
    try:
        _confirm(request.repo, request.ref, request.commit, fetch_context)
    except MismatchError as error:
        fetch_context.say(f"Warning: {error.message}. {error.remedy}")
    except UnavailableError as error:
        fetch_context.say(
            f"Warning: whether {request.commit} is in the history of '{request.ref}' "
            f"could not be checked: {error.message}"
        )


def _confirm(repo: str, ref: str, commit: str, fetch_context: FetchContext) -> None:
    """A commit given with a ref must be one that the ref has or had in its history."""
    shown = without_secrets(repo)
    if is_commit(ref):
        if ref.lower() != commit:
            raise MismatchError(
                f"'ref' and 'commit' of {shown} are two different commits: {ref} and {commit}",
                remedy="Keep one of them.",
            )
        return
    tip = resolve_ref(repo, ref, fetch_context)
    if tip == commit:
        return
    full_name = list_refs(repo, ref, fetch_context).full_name(ref) or ref
    try:
        held = history_holds(repo, full_name, commit, fetch_context.cache)
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
