"""Fetches in processes of their own, and a git that stops where a test wants it to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.tree import FetchContext, TreeRequest
from runpod_comfy.sources.kinds import source_of
from runpod_comfy.spec.values import tree_kind
from tests.program import start_python, write_program

_PROGRAM = "import sys; from tests.runpod_comfy.sources.fetching import main; main(sys.argv[1])"


def main(argument: str) -> None:
    """Fetches what the JSON text asks for and prints the tree's hash."""
    asked = json.loads(argument)
    request = TreeRequest(**asked["request"])
    root = Path(asked["root"])
    fetch_context = FetchContext(cache=Cache(root=root), base_dir=root)
    tree = source_of(tree_kind(request.repo)).fetch(request, fetch_context)
    sys.stdout.write(tree.tree_hash)


def start_fetch(
    request: TreeRequest, cache: Cache, *, path: str | None = None
) -> subprocess.Popen[str]:
    """A process of its own, in a group of its own, that fetches; `path` is its PATH."""
    variables = {} if path is None else {"PATH": path}
    argument = json.dumps({"request": asdict(request), "root": str(cache.root)})
    return start_python("-c", _PROGRAM, argument, variables=variables, start_new_session=True)


def path_with_git(folder: Path, command: str, body: str) -> str:
    """A PATH whose git runs the shell lines `body` for `command` and is the real git otherwise.

    In `body`, `$GIT` is the real git and `$HERE` is `folder`.
    """
    write_program(
        folder / "git",
        f"GIT='{shutil.which('git')}'\nHERE='{folder}'\n"
        f'for word in "$@"; do\nif [ "$word" = {command} ]; then\n{body}\nfi\ndone\n'
        'exec "$GIT" "$@"\n',
    )
    return f"{folder}{os.pathsep}{os.environ['PATH']}"
