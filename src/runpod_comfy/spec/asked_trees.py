"""`--repo` and `--nodes`: a core or custom nodes as a person names them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from comfy_errors import InvalidInputError, UnavailableError
from runpod_comfy.spec.asked import Folders, read_objects, validated
from runpod_comfy.spec.model import CustomNode, Tree
from runpod_comfy.spec.text import ARCHIVE_SUFFIXES, is_archive_name, tree_kind

_SUBDIR = re.compile(r"subdir=(?P<subdir>.+)")
# What GitHub, GitLab and Gitea make of a repository: `…/owner/name/archive/…/main.zip`.
_FORGE_ARCHIVE = re.compile(r"https?://[^/]+/(?P<repository>.+?)/(-/)?archive/")


class _AskedNode(BaseModel):
    """A node as JSON: its name may be left to its repository."""

    model_config = ConfigDict(extra="forbid", strict=True)

    repo: str
    name: str | None = None
    ref: str | None = None
    commit: str | None = None
    subdir: str | None = None


def read_core(text: str, folders: Folders) -> Tree:
    """The tree of `--repo`: `URL@ref`, `URL@ref#subdir=a/b`, or a local path written so."""
    return validated(Tree, _split(text, folders, "--repo"), "--repo")


def read_nodes(text: str, folders: Folders) -> list[CustomNode]:
    """The nodes of one `--nodes`: a JSON object, a JSON file, or text like that of `--repo`."""
    is_archive = is_archive_name(text) and (folders.working / text).is_file()
    objects = None if is_archive else read_objects(text, "--nodes", folders.working)
    if objects is None:
        return [_node(_split(text, folders, "--nodes"), f"--nodes {_without_login(text)}")]
    nodes = []
    for item in objects:
        asked = validated(_AskedNode, item.fields, item.where)
        fields = asked.model_dump(exclude_none=True)
        nodes.append(_node(_with_local_repo(fields, folders, item.where), item.where))
    return nodes


def _node(fields: dict[str, Any], where: str) -> CustomNode:
    # A repository that is no text has no name; the model says what is wrong with it.
    return validated(CustomNode, {"name": _name_of(fields), **fields}, where)


def _without_login(text: str) -> str:
    # The complaint may be that there is one.
    return re.sub(r"(?<=://)[^/]*@", "***@", text.partition("?")[0])


def _name_of(fields: Mapping[str, Any]) -> str:
    """The folder that `git clone` would make, or the last part of `subdir`."""
    place = fields.get("subdir") or _without_endings(fields["repo"])
    name = re.split(r"[/:]", place.rstrip("/"))[-1]
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
                f"{where}: '#{fragment}' in '{_without_login(text)}' is not understood",
                remedy="After '#' there can only be: subdir=FOLDER",
            )
        fields["subdir"] = match["subdir"]
    fields["repo"], at, ref = _split_ref(rest)
    if at and not ref:
        raise InvalidInputError(
            f"{where}: '{_without_login(text)}' names no ref after its '@'",
            remedy="Add a branch, tag or commit there.",
        )
    if ref:
        fields["ref"] = ref
    return _with_local_repo(fields, folders, where)


def _split_ref(text: str) -> tuple[str, str, str]:
    """At the last `@` after the last `/` or `:`; one before that belongs to the address."""
    start = max(text.rfind("/"), text.rfind(":")) + 1
    head, at, ref = text[start:].rpartition("@")
    return (text[:start] + head, at, ref) if at else (text, "", "")


def _with_local_repo(fields: Mapping[str, Any], folders: Folders, where: str) -> dict[str, Any]:
    """A local repository or archive as `file://`, a folder as a path from the spec's folder.

    It is a repository when it is asked for a ref or commit, or has no files but git's own.
    """
    repo = fields["repo"]
    if not repo or repo.startswith("-") or "::" in repo or _kind(repo) != "folder":
        return dict(fields)
    path = folders.working / repo
    if not path.exists():
        raise UnavailableError(
            f"{where}: there is no folder {path}",
            remedy=_slash_in_ref(repo) or "Name a folder or git repository that exists, or a URL.",
        )
    if path.is_file() and is_archive_name(repo):
        return {**fields, "repo": Path(os.path.normpath(path)).as_uri()}
    bare = (path / "HEAD").is_file() and (path / "objects").is_dir()
    revision = fields.get("ref") or fields.get("commit") or ""
    if not bare and (not revision or revision.startswith("tree:")):
        return {**fields, "repo": folders.rewritten(repo)}
    if not bare and not (path / ".git").exists():
        raise InvalidInputError(
            f"{where}: {path} is not a git repository, so it has no '{revision}'",
            remedy="Leave that out to take the folder as it is.",
        )
    return {**fields, "repo": Path(os.path.normpath(path)).as_uri()}


def _slash_in_ref(repo: str) -> str | None:
    if "@" not in repo:
        return None
    return 'A ref with a slash is given as JSON: {"repo": "…", "ref": "feature/x"}'


def _kind(repo: str) -> str:
    try:
        return tree_kind(repo)
    except ValueError:
        # The model will say what is wrong with it.
        return "unknown"
