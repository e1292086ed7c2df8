"""Commits that git's own commands would refuse to make."""

from __future__ import annotations

import subprocess

from tests.git_repositories import GitRepository


def commit_raw_tree(repository: GitRepository, *entries: tuple[str, str, str]) -> None:
    """Makes `main` a commit of exactly these (mode, object, name), in this order."""
    content = b"".join(
        f"{mode} {name}\0".encode() + bytes.fromhex(object_id) for mode, object_id, name in entries
    )
    done = subprocess.run(
        ["git", "-C", repository.path, "hash-object", "-t", "tree", "--literally", "-w", "--stdin"],
        input=content,
        capture_output=True,
        check=True,
    )
    tree = done.stdout.decode().strip()
    commit = repository.git("commit-tree", "-m", "Made by hand", tree)
    repository.git("update-ref", "refs/heads/main", commit)
