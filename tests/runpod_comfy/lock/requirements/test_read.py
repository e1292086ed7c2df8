"""What a tree asks for, over all the files that its requirements.txt leads to."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from comfy_errors import InvalidInputError
from runpod_comfy.lock.python.fit import platforms_of
from runpod_comfy.lock.requirements.read import (
    Reading,
    decoded,
    logical_lines,
    read_requirements,
    requirements_of_core,
)


def _on_linux(marker: str) -> bool:
    return bool(platforms_of(marker, python="3.11", platforms=["linux-x86_64"]))


class Tree:
    """A node's folder, and what was said while it was read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []

    def write(self, path: str, text: str) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def read(self, *overridden: str) -> Reading:
        return read_requirements(
            [("node:n", self.folder)],
            overridden=frozenset(overridden),
            applies=_on_linux,
            say=self.said.append,
        )


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    (tmp_path / "tree").mkdir()
    return Tree(tmp_path / "tree")


def test_included_files_are_read_where_they_lie_and_named(tree: Tree) -> None:
    tree.write("requirements.txt", "alpha\n-r more/base.txt\nbeta\n")
    tree.write("more/base.txt", "\ngamma>=1\n-r ../last.txt\n")
    tree.write("last.txt", "delta\n")
    found = tree.read().requirements
    assert [(item.place, item.text) for item in found] == [
        ("node:n, requirements.txt line 1", "alpha"),
        ("node:n, more/base.txt line 2", "gamma>=1"),
        ("node:n, last.txt line 1", "delta"),
        ("node:n, requirements.txt line 3", "beta"),
    ]


def test_files_that_include_each_other_say_everything_once(tree: Tree) -> None:
    tree.write("requirements.txt", "alpha\n-r other.txt\n")
    tree.write("other.txt", "beta\n-r requirements.txt\n")
    reading = tree.read()
    assert [item.text for item in reading.requirements] == ["alpha", "beta"]
    assert reading.refused == []


def test_a_constraints_file_bounds_and_asks_for_nothing(tree: Tree) -> None:
    tree.write("requirements.txt", "-c bounds.txt\nalpha\n")
    tree.write("bounds.txt", "alpha<2\nbeta[x]<3\n")
    found = [(item.text, item.is_constraint) for item in tree.read().requirements]
    assert found == [("alpha<2", True), ("beta<3", True), ("alpha", False)]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("-r ../outside.txt", "leads outside the tree"),
        ("-r /etc/passwd", "leads outside the tree"),
        ("-r missing.txt", "is not in the tree"),
        ("-r link.txt", "leads outside the tree"),
        ("-r https://example.com/r.txt", "does not name a file of the tree"),
        ("-r file:///etc/passwd", "does not name a file of the tree"),
        ("-r", "does not name a file of the tree"),
        ("-r folder", "is not in the tree"),
    ],
)
def test_nothing_outside_the_tree_is_read(tree: Tree, line: str, why: str) -> None:
    (tree.folder.parent / "outside.txt").write_text("secret\n")
    (tree.folder / "link.txt").symlink_to(tree.folder.parent / "outside.txt")
    (tree.folder / "folder").mkdir()
    tree.write("requirements.txt", f"alpha\n{line}\n")
    reading = tree.read()
    assert [item.text for item in reading.requirements] == ["alpha"]
    (refused,) = reading.refused
    assert refused.place == "node:n, requirements.txt line 2"
    assert why in refused.why


def test_requirements_that_are_a_link_out_of_the_tree_are_refused(tree: Tree) -> None:
    (tree.folder.parent / "outside.txt").write_text("secret\n")
    (tree.folder / "requirements.txt").symlink_to(tree.folder.parent / "outside.txt")
    reading = tree.read()
    assert (reading.requirements, len(reading.refused)) == ([], 1)


def test_a_file_of_megabytes_is_refused(tree: Tree) -> None:
    tree.write("requirements.txt", "alpha\n" * 300_000)
    assert "too large for a requirements file" in tree.read().refused[0].why


def test_a_line_for_other_platforms_is_passed_over_even_if_it_cannot_be_pinned(tree: Tree) -> None:
    tree.write(
        "requirements.txt",
        "never ; sys_platform == 'win32'\n"
        "insightface @ https://example.com/i-1.0-cp311-cp311-win_amd64.whl ; "
        "sys_platform == 'win32'\n"
        "https://example.com/i-1.0-cp310-cp310-linux_x86_64.whl ; python_version == '3.10'\n",
    )
    assert tree.read() == Reading()


def test_an_override_of_the_spec_settles_a_line_that_would_be_refused(tree: Tree) -> None:
    tree.write("requirements.txt", "git+https://github.com/a/Img_2.git@main\nnumpy=>1.2\n")
    assert [line.name for line in tree.read().refused] == ["img-2", "numpy"]
    reading = tree.read("img-2", "numpy")
    assert [(item.name, item.text) for item in reading.requirements] == [
        ("img-2", "Img_2"),
        ("numpy", "numpy"),
    ]
    assert reading.requirements[0].asked == "git+https://github.com/a/Img_2.git@main"
    assert reading.refused == []
    assert "the spec's override for img-2 is used" in tree.said[0]


def test_an_editable_install_of_the_tree_itself_has_the_name_of_its_project(tree: Tree) -> None:
    tree.write("pyproject.toml", "[project]\nname = 'My_Node'\n")
    tree.write("requirements.txt", "-e .\n")
    assert tree.read().refused[0].name == "my-node"
    assert tree.read("my-node").refused == []


def test_an_extra_index_is_said_and_the_node_stays_usable(tree: Tree) -> None:
    url = "https://download.pytorch.org/whl/cu121"
    tree.write("requirements.txt", f"--extra-index-url {url}\ntorch\n")
    assert [item.text for item in tree.read().requirements] == ["torch"]
    (said,) = tree.said
    assert said.startswith(f"node:n, requirements.txt line 1: --extra-index-url {url}")
    assert "options.torch.index" in said


def test_dependencies_in_pyproject_alone_are_mentioned_and_not_taken(tree: Tree) -> None:
    tree.write("pyproject.toml", "[project]\nname = 'n'\ndependencies = ['alpha', 'beta']\n")
    assert tree.read() == Reading()
    assert "lists 2 dependencies in pyproject.toml" in tree.said[0]


def test_a_broken_pyproject_is_ignored(tree: Tree) -> None:
    tree.write("pyproject.toml", "[project\n")
    assert tree.read() == Reading()


def test_a_core_alone_gives_plain_requirements(tree: Tree) -> None:
    tree.write("requirements.txt", "alpha>=1 # why\n-c bounds.txt\n")
    tree.write("bounds.txt", "alpha<2\n")
    assert requirements_of_core(tree.folder, say=tree.said.append) == ["alpha>=1"]
    tree.write("requirements.txt", "git+https://example.com/a.git\n")
    with pytest.raises(InvalidInputError, match="core, requirements.txt line 1"):
        requirements_of_core(tree.folder, say=tree.said.append)


@pytest.mark.parametrize(
    "data",
    [
        b"alpha>=1\nbeta\n",
        b"alpha>=1\r\nbeta\r\n",
        b"alpha>=1\rbeta",
        codecs.BOM_UTF8 + b"alpha>=1\nbeta",
        codecs.BOM_UTF16_LE + "alpha>=1\nbeta\n".encode("utf-16-le"),
        codecs.BOM_UTF16_BE + "alpha>=1\nbeta\n".encode("utf-16-be"),
        codecs.BOM_UTF32_LE + "alpha>=1\nbeta\n".encode("utf-32-le"),
        "alpha>=1  # größer\nbeta".encode(),
        "alpha>=1  # gr\u00f6\u00dfer\nbeta".encode("latin-1"),
        "alpha\u00a0>=1\nbeta\u200b\n".encode(),
        b"alpha\\\n>=1\nbeta",
        b"# a comment that ends so \\\nalpha>=1\n\n   \nbeta # two\n",
    ],
)
def test_the_same_lines_come_out(data: bytes) -> None:
    lines = [line.replace(" ", "") for _, line in logical_lines(decoded(data))]
    assert lines == ["alpha>=1", "beta"]


def test_a_coding_line_counts() -> None:
    data = "# coding: cp1251\nя\n".encode("cp1251")
    assert list(logical_lines(decoded(data))) == [(2, "я")]


def test_an_unknown_coding_is_passed_over() -> None:
    assert list(logical_lines(decoded(b"# coding: klingon\nalpha\n"))) == [(2, "alpha")]


def test_a_line_has_the_number_of_its_first_part() -> None:
    text = "# one\nalpha\\\n>=1,\\\n<2\nbeta\n"
    assert list(logical_lines(text)) == [(2, "alpha>=1,<2"), (5, "beta")]


def test_a_number_sign_in_an_address_is_not_a_comment() -> None:
    line = "git+https://example.com/a.git#egg=a"
    assert list(logical_lines(f"{line} # why\n")) == [(1, line)]
