"""The core and the nodes that arguments ask for: URLs, paths and JSON objects."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from comfy_errors import InvalidInputError, UnavailableError, for_each
from comfy_files.json_faults import fault_words
from runpod_comfy.spec.document import Folders, read_objects, validated
from runpod_comfy.spec.model import CustomNode, Strict, Tree
from runpod_comfy.spec.values import ARCHIVE_SUFFIXES, NodeName, is_archive_name, tree_kind

# Splits at the last `@` after the last `/` or `:`; an earlier one belongs to the URL.
_REPO_AT_REF = re.compile(r"(?P<repo>.*?)(@(?P<ref>[^/:@]*))?", re.DOTALL)
_SUBDIR = re.compile(r"subdir=(?P<subdir>.+)")
# Archive URLs of GitHub, GitLab and Gitea: `…/owner/name/archive/…/main.zip`.
_FORGE_ARCHIVE = re.compile(r"https?://[^/]+/(?P<repository>.+?)/(-/)?archive/")


class _AskedNode(Strict):
    """A node as JSON; the default name comes from its repository."""

    repo: str
    name: str | None = None
    ref: str | None = None
    commit: str | None = None
    subdir: str | None = None


def read_core(text: str, folders: Folders) -> Tree:
    """The tree of `--repo`: `URL@ref`, `URL@ref#subdir=a/b`, or a local path in this form."""
    return validated(Tree, _split(text, folders, "--repo"), where="--repo")


def read_nodes(
    text: str, folders: Folders, *, option: str = "--nodes", name: str | None = None
) -> list[CustomNode]:
    """The nodes of one `--nodes`: a JSON object, a JSON file, or text like that of `--repo`.

    `option` is the option's name in messages. `name` is for a node that is not JSON.
    """
    is_tree = is_archive_name(text) or text.endswith(".py")
    is_tree = is_tree and (folders.working / text).is_file()
    asked = None if is_tree else read_objects(text, option, _AskedNode, folders)
    if asked is None:
        named = {"name": name} if name is not None else {}
        fields = _split(text, folders, option) | named
        give = "--name NAME" if option == "add-node" else f"{option} {_with_a_name(text, fields)}"
        return [_node(fields, f"{option} {_without_login(text)}", f"Give it a name: {give}")]
    if name is not None:
        raise InvalidInputError(
            "--name is for a URL or a path", remedy="Write 'name' into the JSON object."
        )

    def read(item: tuple[_AskedNode, str]) -> CustomNode:
        node, where = item
        return _node(_with_local_repo(node.model_dump(exclude_none=True), folders, where), where)

    return for_each(read, asked)


def _node(
    fields: dict[str, Any], where: str, give_name: str = "Add 'name' to the JSON object."
) -> CustomNode:
    """The node of these fields; `give_name` is the remedy if its default name is not allowed."""
    node = validated(CustomNode, {"name": "x", **fields}, where=where)
    if "name" in fields:
        return node
    name = _name_of(fields)
    try:
        TypeAdapter(NodeName).validate_python(name)
    except ValidationError as error:
        raise InvalidInputError(
            f"{where}: the name of the node, '{name}', {fault_words(error.errors()[0])}",
            remedy=give_name,
        ) from error
    return node.model_copy(update={"name": name})


def _with_a_name(text: str, fields: Mapping[str, Any]) -> str:
    """The argument for a node in which its name can be set; its fields were read from `text`."""
    repo = fields["repo"]
    if _kind(repo) == "folder":
        repo = text.removesuffix(f"#subdir={fields.get('subdir')}")
    return shlex.quote(json.dumps({"name": "NAME", **fields, "repo": repo}, ensure_ascii=False))


def _without_login(text: str) -> str:
    # The complaint may be that there is one.
    return re.sub(r"(?<=://)[^/]*@", "***@", text.partition("?")[0])


def _name_of(fields: Mapping[str, Any]) -> str:
    """The folder name that `git clone` would use, or the last part of `subdir`."""
    place = fields.get("subdir") or _without_endings(fields["repo"])
    name = re.split(r"[/:]", place.rstrip("/"))[-1].removesuffix(".py")
    return re.sub(r"[^A-Za-z0-9._-]", "-", name)


def _without_endings(repo: str) -> str:
    if _kind(repo) != "archive":
        return repo.rstrip("/").removesuffix(".git")
    place = repo.partition("?")[0]
    if match := _FORGE_ARCHIVE.match(place):
        return match["repository"]
    if place.endswith(".whl"):
        return place.rpartition("/")[2].partition("-")[0]
    ending = next(suffix for suffix in ARCHIVE_SUFFIXES if place.lower().endswith(suffix))
    return place[: -len(ending)]


def _split(text: str, folders: Folders, where: str) -> dict[str, Any]:
    if (folders.working / text).is_dir():
        return _with_local_repo({"repo": text}, folders, where)
    fields: dict[str, Any] = {}
    rest, _, fragment = text.partition("#")
    if fragment:
        match = _SUBDIR.fullmatch(fragment)
        if match is None:
            raise InvalidInputError(
                f"{where}: '#{fragment}' in '{_without_login(text)}' is not supported",
                remedy="Only subdir=FOLDER can follow '#'.",
            )
        fields["subdir"] = match["subdir"]
    match = _REPO_AT_REF.fullmatch(rest)
    assert match is not None
    fields["repo"], ref = match["repo"], match["ref"]
    if ref == "":
        raise InvalidInputError(
            f"{where}: '{_without_login(text)}' has no ref after its '@'",
            remedy="Add a branch, tag or commit there.",
        )
    if ref is not None:
        fields["ref"] = ref
    return _with_local_repo(fields, folders, where)


def _with_local_repo(fields: Mapping[str, Any], folders: Folders, where: str) -> dict[str, Any]:
    """A local repository or archive as `file://`, a folder as a path relative to the spec's folder.

    It is a repository if a ref or commit is given, or if it only has git's own files.
    """
    repo = fields["repo"]
    if not repo or repo.startswith("-") or "::" in repo or _kind(repo) != "folder":
        return dict(fields)
    path = folders.working / repo
    if not path.exists():
        raise UnavailableError(
            f"{where}: there is no folder {path}",
            remedy='Pass a ref with a slash as JSON: {"repo": "…", "ref": "feature/x"}'
            if "@" in repo
            else "Name a folder or git repository that exists, or a URL.",
        )
    revision = fields.get("ref") or fields.get("commit") or ""
    is_archive = path.is_file() and is_archive_name(repo)
    is_bare = (path / "HEAD").is_file() and (path / "objects").is_dir()
    if not is_archive and not is_bare:
        if not revision or revision.startswith("tree:"):
            return {**fields, "repo": folders.rewritten(repo)}
        if not (path / ".git").exists():
            raise InvalidInputError(
                f"{where}: {path} is not a git repository, so it has no '{revision}'",
                remedy="Leave that out to use the folder as it is.",
            )
    return {**fields, "repo": Path(os.path.normpath(path)).as_uri()}


def _kind(repo: str) -> str:
    try:
        return tree_kind(repo)
    except ValueError:
        # Validation will report what is wrong with it.
        return "unknown"
