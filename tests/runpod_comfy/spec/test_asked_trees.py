"""`--repo` and `--nodes` as users write them: what is split, what is named, what is rewritten."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from comfy_errors import ComfyError, InvalidInputError, UnavailableError
from runpod_comfy.spec.asked import read_core, read_nodes
from runpod_comfy.spec.document import Folders
from runpod_comfy.spec.model import CustomNode, Tree
from tests.git_repositories import GitRepository

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """Arguments are given in `tmp_path`; the spec will be in `versions` there."""
    return Folders(working=tmp_path, spec=tmp_path / "versions")


def node_of(text: str, folders: Folders) -> CustomNode:
    (node,) = read_nodes(text, folders)
    return node


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("https://e.com/a", Tree(repo="https://e.com/a")),
        ("https://e.com/a.git@main", Tree(repo="https://e.com/a.git", ref="main")),
        (f"https://e.com/a@{COMMIT}", Tree(repo="https://e.com/a", ref=COMMIT)),
        (
            "https://e.com/a@v1.0#subdir=b/c@d",
            Tree(repo="https://e.com/a", ref="v1.0", subdir="b/c@d"),
        ),
        ("https://e.com/a#subdir=b", Tree(repo="https://e.com/a", subdir="b")),
        ("ssh://git@e.com/a@v1", Tree(repo="ssh://git@e.com/a", ref="v1")),
        ("git@e.com:owner/a.git", Tree(repo="git@e.com:owner/a.git")),
        (
            "git@e.com:owner/a@v1#subdir=b",
            Tree(repo="git@e.com:owner/a", ref="v1", subdir="b"),
        ),
        ("pypi://name@1.0#subdir=a/b", Tree(repo="pypi://name", ref="1.0", subdir="a/b")),
        ("comfy://a-node@1.0.0", Tree(repo="comfy://a-node", ref="1.0.0")),
        ("comfy://a-node", Tree(repo="comfy://a-node")),
        ("https://e.com/a.zip#subdir=b", Tree(repo="https://e.com/a.zip", subdir="b")),
    ],
)
def test_address_ref_and_subdir_are_distinguished(text: str, tree: Tree, folders: Folders) -> None:
    assert read_core(text, folders) == tree


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("https://e.com/owner/Some.Node.git@main", "Some.Node"),
        ("https://e.com/owner/repo/@main", "repo"),
        ("git@e.com:repo.git", "repo"),
        ("https://e.com/owner/repo#subdir=nodes/inner/", "inner"),
        ("https://e.com/owner/repo#subdir=nodes/one.py", "one"),
        ("pypi://some-node@1.0", "some-node"),
        ("https://e.com/owner/a%20b", "a-20b"),
        ("comfy://some-node@1.0.0", "some-node"),
        ("https://e.com/some-node-1.0.tar.gz", "some-node-1.0"),
        ("https://e.com/some_node-1.0-py3-none-any.whl", "some_node"),
        ("https://github.com/owner/Some-Node/archive/refs/heads/main.zip", "Some-Node"),
        ("https://gitlab.com/group/owner/Some-Node/-/archive/v1/Some-Node-v1.tar.gz", "Some-Node"),
    ],
)
def test_a_node_is_named_as_git_would_name_its_folder(
    text: str, name: str, folders: Folders
) -> None:
    assert node_of(text, folders).name == name


def test_a_node_as_an_object_may_leave_out_all_but_its_repo(folders: Folders) -> None:
    assert node_of('{"repo": "https://e.com/a"}', folders) == CustomNode(
        name="a", repo="https://e.com/a"
    )


def test_every_field_of_a_node_as_an_object_is_taken(folders: Folders) -> None:
    asked = {
        "repo": "https://e.com/a",
        "name": "b",
        "ref": "feature/x",
        "commit": COMMIT,
        "subdir": "c",
    }
    assert node_of(json.dumps(asked), folders).model_dump() == asked


def test_a_folder_is_a_path_from_the_spec_and_has_no_ref(folders: Folders, tmp_path: Path) -> None:
    (tmp_path / "nodes" / "mine").mkdir(parents=True)
    assert node_of("nodes/mine", folders) == CustomNode(name="mine", repo="../nodes/mine")
    assert node_of('{"repo": "./nodes/mine/"}', folders).repo == "../nodes/mine"


def test_a_python_file_is_a_node_of_that_name(folders: Folders, tmp_path: Path) -> None:
    (tmp_path / "nodes").mkdir()
    (tmp_path / "nodes" / "mine.py").write_text("")
    assert node_of("nodes/mine.py", folders) == CustomNode(name="mine", repo="../nodes/mine.py")


@pytest.mark.parametrize("name", ["-odd", ".hidden", "__pycache__", "old.disabled", "é"])
def test_a_folder_whose_name_no_node_can_have_is_answered_with_how_to_give_one(
    folders: Folders, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(InvalidInputError, match="the name of the node, ") as raised:
        node_of(f"./{name}", folders)
    command, _, given = raised.value.remedy.removeprefix("Give it a name: ").partition(" ")
    assert command == "--nodes"
    (text,) = shlex.split(given)
    node = node_of(text.replace("NAME", "fine"), folders)
    assert (node.name, node.repo) == ("fine", f"../{name}")
    with pytest.raises(InvalidInputError) as raised:
        read_nodes(f"./{name}", folders, option="add-node")
    assert raised.value.remedy == "Give it a name: --name NAME"


def test_a_folder_given_whole_stays_whole(folders: Folders, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    assert node_of(str(tmp_path / "mine"), folders).repo == str(tmp_path / "mine")


def test_a_folder_with_an_at_sign_in_its_name_is_a_folder(folders: Folders, tmp_path: Path) -> None:
    (tmp_path / "mine@home").mkdir()
    node = node_of("mine@home", folders)
    assert (node.kind, node.repo, node.ref) == ("folder", "./../mine@home", None)


def test_a_folder_whose_name_reads_like_an_address_or_option_stays_a_folder(
    folders: Folders, tmp_path: Path
) -> None:
    for name in ("git@host:x", "-x"):
        (folders.spec / name).mkdir(parents=True)
        tree = read_core(f"./versions/{name}", folders)
        assert (tree.kind, tree.repo) == ("folder", f"./{name}")


def test_a_local_repository_asked_for_a_ref_is_cloned_and_not_copied(
    folders: Folders, node_git: GitRepository
) -> None:
    for text in ("Small-Node@main", "./Small-Node@main", f"{node_git.path}@main"):
        node = node_of(text, folders)
        assert (node.kind, node.repo, node.ref) == ("git", node_git.url, "main")
    assert node_of("Small-Node", folders).kind == "folder"


def test_a_bare_repository_is_always_cloned(
    folders: Folders, node_git: GitRepository, tmp_path: Path
) -> None:
    node_git.git("clone", "--quiet", "--bare", str(node_git.path), str(tmp_path / "bare.git"))
    node = node_of("bare.git", folders)
    assert (node.name, node.repo) == ("bare", (tmp_path / "bare.git").as_uri())


def test_a_local_archive_is_an_address_of_this_machine(folders: Folders, tmp_path: Path) -> None:
    (tmp_path / "Mine.zip").touch()
    node = node_of("./Mine.zip", folders)
    assert (node.kind, node.name, node.repo) == (
        "archive",
        "Mine",
        (tmp_path / "Mine.zip").as_uri(),
    )


def test_a_ref_with_a_slash_is_answered_with_the_way_to_write_it(
    folders: Folders, node_git: GitRepository
) -> None:
    with pytest.raises(UnavailableError) as caught:
        read_nodes("Small-Node@feature/x", folders)
    assert '{"repo": "…", "ref": "feature/x"}' in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "error", "sentence"),
    [
        ("", InvalidInputError, "'repo' must not be empty"),
        ("@main", InvalidInputError, "'repo' must not be empty"),
        ("https://e.com/a@", InvalidInputError, "has no ref after its '@'"),
        ("https://e.com/a#subdir=", InvalidInputError, "'#subdir=' in"),
        ("https://e.com/a#subdir=../b", InvalidInputError, "'subdir' must be a path without '..'"),
        ("https://e.com/a#subdir=/b", InvalidInputError, "'subdir' must be a relative path"),
        ("https://e.com/a@-x", InvalidInputError, "'ref' is not a valid git ref"),
        ("https://e.com/a.zip@v1", InvalidInputError, "it has a 'ref', which only"),
        ("https://user:secret@e.com/a@v1", InvalidInputError, "must not contain a user name"),
        ("https://e.com/a.zip?token=x", InvalidInputError, "must not contain a token"),
        ("https://e.com/a.zip?X-Amz-Signature=x", InvalidInputError, "must not contain a token"),
        ("https://user:secret@e.com/a.zip", InvalidInputError, "must not contain a user name"),
        ("file://host/a.zip", InvalidInputError, "must name a file of this machine"),
        ("comfy://a/b@1.0.0", InvalidInputError, "only the node's id"),
        ("comfy://", InvalidInputError, "only the node's id"),
        ("ext::sh -c x", InvalidInputError, "remote helpers"),
        ("--upload-pack=x", InvalidInputError, "must not start with '-'"),
        ("gone/folder", UnavailableError, "there is no folder"),
    ],
)
def test_a_core_that_is_not_understood_is_refused(
    text: str, error: type[ComfyError], sentence: str, folders: Folders
) -> None:
    with pytest.raises(error) as caught:
        read_core(text, folders)
    assert caught.value.message.startswith("--repo: ")
    assert sentence in caught.value.message
    assert caught.value.remedy


@pytest.mark.parametrize("ending", ["", ".zip"])
def test_a_login_in_an_address_is_refused_and_not_repeated(ending: str, folders: Folders) -> None:
    with pytest.raises(InvalidInputError, match="must not contain a user name") as caught:
        read_nodes(f"https://me:hunter2@e.com/a{ending}?token=hunter2", folders)
    assert "hunter2" not in caught.value.in_words()
    assert "e.com/a" in caught.value.message


def test_a_name_that_cannot_be_a_nodes_folder_is_asked_for(folders: Folders) -> None:
    with pytest.raises(InvalidInputError, match="the name of the node, '.github', must"):
        read_nodes("https://e.com/.github", folders)
    assert node_of('{"repo": "https://e.com/.github", "name": "hub"}', folders).name == "hub"
