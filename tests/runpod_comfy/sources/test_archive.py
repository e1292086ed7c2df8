"""Archives at a URL: over real HTTP, from well-meaning and other servers."""

from __future__ import annotations

import hashlib
import io
import stat
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfy_errors import ComfyError, InvalidInputError, MismatchError, UnavailableError
from comfy_home.tree_hash import tree_hash
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.tree import FetchContext, FetchedTree, TreeRequest
from runpod_comfy.sources.archive import ArchiveSource
from runpod_comfy.sources.kinds import settle
from runpod_comfy.spec.model import Tree
from tests.http_server import Answer, Answering, Request, cut, redirect, serve
from tests.package_index import make_wheel

NODE = {"__init__.py": "NODE_CLASS_MAPPINGS = {}\n", "web/a.js": "1"}
SECONDS = 1_700_000_000


@pytest.fixture
def shelf(tmp_path: Path, pip_knows_nothing: None) -> Path:
    """The folder that a server shows."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    return folder


def zipped(path: Path, files: Mapping[str, str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            info = zipfile.ZipInfo(name, (2023, 11, 14, 22, 13, 20))
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, text)
    return path


def tarred(path: Path, files: Mapping[str, str]) -> Path:
    ending = path.name.rpartition(".")[2]
    mode: Any = {"tgz": "w:gz", "gz": "w:gz", "xz": "w:xz", "bz2": "w:bz2", "tar": "w"}[ending]
    with tarfile.open(path, mode) as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(text.encode()), SECONDS
            archive.addfile(info, io.BytesIO(text.encode()))
    return path


def pin_of(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def fetch(url: str, fetch_context: FetchContext, **fields: Any) -> FetchedTree:
    return ArchiveSource().fetch(TreeRequest(repo=url, **fields), fetch_context)


def names(tree: FetchedTree) -> set[str]:
    files = (path for path in tree.path.rglob("*") if path.is_file())
    return {path.relative_to(tree.path).as_posix() for path in files}


def refused(
    url: str,
    fetch_context: FetchContext,
    sentence: str,
    error: type[ComfyError] = UnavailableError,
    **fields: Any,
) -> ComfyError:
    """The error, after which nothing is left in the cache."""
    with pytest.raises(error, match=sentence) as caught:
        fetch(url, fetch_context, **fields)
    assert caught.value.remedy
    cache = fetch_context.cache
    folders = [cache.archives, cache.tmp, cache.trees]
    assert [path for folder in folders if folder.is_dir() for path in folder.iterdir()] == []
    return caught.value


def within(folder: str) -> dict[str, str]:
    return {f"{folder}/{name}": text for name, text in NODE.items()}


@pytest.mark.parametrize("ending", ["zip", "tar.gz", "tgz", "tar.xz", "tar.bz2", "tar"])
def test_every_format_gives_the_same_tree_from_inside_its_one_folder(
    shelf: Path, fetch_context: FetchContext, ending: str
) -> None:
    pack = zipped if ending == "zip" else tarred
    path = pack(shelf / f"node-1.{ending}", within("node-1"))
    folder = shelf.parent / "plain"
    for name, text in NODE.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    with serve(shelf) as url:
        settled = settle(Tree(repo=f"{url}/{path.name}"), fetch_context)
        assert (settled.ref, settled.commit) == (None, pin_of(path))
        tree = fetch(settled.repo, fetch_context, commit=settled.commit)
    assert tree.tree_hash == tree_hash(folder)
    assert tree.epoch == SECONDS


def test_without_one_top_folder_it_is_taken_as_it_is(
    shelf: Path, fetch_context: FetchContext
) -> None:
    zipped(shelf / "flat.zip", NODE)
    make_wheel(shelf, "alpha", "1.0")
    with serve(shelf) as url:
        assert names(fetch(f"{url}/flat.zip", fetch_context)) == set(NODE)
        wheel = fetch(f"{url}/alpha-1.0-py3-none-any.whl", fetch_context)
    assert "alpha.py" in names(wheel)
    assert "alpha-1.0.dist-info/METADATA" in names(wheel)


def test_the_records_that_macos_adds_are_not_a_second_folder(
    shelf: Path, fetch_context: FetchContext
) -> None:
    zipped(shelf / "mine.zip", {**within("mine"), "__MACOSX/mine/._a.js": "x"})
    with serve(shelf) as url:
        assert names(fetch(f"{url}/mine.zip", fetch_context)) == set(NODE)


def test_a_subdir_counts_from_inside_the_top_folder(
    shelf: Path, fetch_context: FetchContext
) -> None:
    zipped(shelf / "node.zip", within("node-main"))
    with serve(shelf) as url:
        assert names(fetch(f"{url}/node.zip", fetch_context, subdir="web")) == {"a.js"}
        whole = fetch(f"{url}/node.zip", fetch_context)
    assert names(whole) == set(NODE)


def test_a_query_does_not_hide_the_ending(shelf: Path, fetch_context: FetchContext) -> None:
    zipped(shelf / "node.zip", NODE)
    with serve(shelf) as url:
        tree = Tree(repo=f"{url}/node.zip?download=1")
        assert tree.kind == "archive"
        assert settle(tree, fetch_context).commit == pin_of(shelf / "node.zip")


def test_an_archive_on_this_machine_is_named_by_its_path(
    shelf: Path, fetch_context: FetchContext
) -> None:
    path = zipped(shelf / "my node.zip", NODE)
    tree = Tree(repo=path.as_uri())
    assert tree.kind == "archive"
    assert names(fetch(tree.repo, replace(fetch_context, offline=True))) == set(NODE)
    refused(
        (shelf / "gone.zip").as_uri(),
        replace(fetch_context, cache=Cache(root=shelf / "cache")),
        "there is no archive",
    )


def test_what_the_cache_has_is_not_asked_for_again(
    shelf: Path, fetch_context: FetchContext
) -> None:
    path = zipped(shelf / "node.zip", within("node"))
    with serve(shelf) as url:
        pin = ArchiveSource().pin(TreeRequest(repo=f"{url}/node.zip"), fetch_context)
    offline = replace(fetch_context, offline=True)
    tree = fetch(f"{url}/node.zip", offline, commit=pin)
    assert fetch(f"{url}/node.zip", offline, commit=pin) == tree
    assert pin == pin_of(path)


def test_offline_without_it_names_the_archive_and_its_pin(fetch_context: FetchContext) -> None:
    offline = replace(fetch_context, offline=True)
    error = refused("https://e.com/node.zip", offline, "node.zip", commit=f"sha256:{'1' * 64}")
    assert "1111" in error.message
    with pytest.raises(UnavailableError, match="network access is off"):
        settle(Tree(repo="https://e.com/node.zip"), offline)


def test_other_bytes_than_the_pinned_ones_are_refused_by_name(
    shelf: Path, fetch_context: FetchContext
) -> None:
    pin = pin_of(zipped(shelf / "node.zip", NODE))
    zipped(shelf / "node.zip", {"evil.py": ""})
    with serve(shelf) as url:
        error = refused(f"{url}/node.zip", fetch_context, "node.zip", MismatchError, commit=pin)
        with pytest.raises(MismatchError):
            settle(Tree(repo=f"{url}/node.zip", commit=pin), fetch_context)
    assert pin.removeprefix("sha256:") in error.message
    assert error.exit_code == 4


def test_bytes_that_a_server_calls_encoded_are_kept_as_they_are(
    shelf: Path, fetch_context: FetchContext
) -> None:
    # As Apache does for a file that ends in .tgz.
    path = tarred(shelf / "node.tgz", within("node"))
    with serve(shelf, answering({"Content-Encoding": "x-gzip"}, path.read_bytes())) as url:
        settled = settle(Tree(repo=f"{url}/node.tgz"), fetch_context)
        assert settled.commit == pin_of(path)


def answering(headers: dict[str, str], body: bytes, *, status: int = 200) -> Answering:
    """Every request gets this answer, which says how long it is only if a header does."""
    framing = {} if "Content-Length" in headers else {"Connection": "close"}
    return lambda _: Answer(status=status, headers={**framing, **headers}, body=body)


@pytest.mark.parametrize(
    ("answer", "sentence", "error"),
    [
        ((200, {}, b" <!DOCTYPE html>Log in"), "returned a web page instead", UnavailableError),
        ((200, {}, b'{"message": "no"}'), "returned something else instead", UnavailableError),
        ((200, {}, b""), "returned something else instead", UnavailableError),
        ((404, {}, b""), "it answered 404", UnavailableError),
        ((500, {}, b""), "it answered 500", UnavailableError),
        ((503, {"Retry-After": "100000"}, b""), "it answered 503", UnavailableError),
        ((302, {"Location": "file:///etc/passwd"}, b""), "could not be read", UnavailableError),
        ((200, {"Content-Length": "99999999999"}, b""), "is larger than", InvalidInputError),
        ((200, {"Content-Length": "9999"}, b"PK\3\4" + b"x" * 600), "could not", UnavailableError),
    ],
)
def test_an_answer_that_is_not_an_archive_is_reported_and_nothing_is_kept(
    shelf: Path,
    fetch_context: FetchContext,
    answer: tuple[int, dict[str, str], bytes],
    sentence: str,
    error: type[ComfyError],
) -> None:
    with serve(shelf, answering(answer[1], answer[2], status=answer[0])) as url:
        refused(f"{url}/node.zip", fetch_context, sentence, error)


def test_bytes_that_do_not_end_are_given_up(
    shelf: Path, fetch_context: FetchContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfy_http.client._LARGEST_BYTES", 10_000)
    body = b"PK\3\4" + b"x" * 3_000_000
    with serve(shelf, answering({}, body)) as url:
        refused(f"{url}/node.zip", fetch_context, "larger than 10,000 bytes", InvalidInputError)


def test_a_login_of_netrc_does_not_follow_a_redirect_to_another_host(
    shelf: Path, fetch_context: FetchContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    zipped(shelf / "node.zip", NODE)
    netrc = shelf.parent / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password hunter2\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    logins: list[str | None] = []
    with serve(shelf, lambda request: logins.append(request.login)) as files:
        elsewhere = files.replace("127.0.0.1", "localhost")
        with serve(shelf, lambda _: redirect(f"{elsewhere}/node.zip")) as url:
            fetch(f"{url}/node.zip", fetch_context)
        assert logins == [None]
        fetch(f"{files}/node.zip", fetch_context)
    assert logins == [None, "me:hunter2"]


def test_a_secret_of_a_redirect_is_not_shown(shelf: Path, fetch_context: FetchContext) -> None:
    there = "http://127.0.0.1:1/node.zip?X-Amz-Signature=hunter2"
    with serve(shelf, lambda _: redirect(there)) as url:
        error = refused(f"{url}/node.zip", fetch_context, "could not be read")
    assert "hunter2" not in error.message


def breaking(shelf: Path, *, tag: str) -> Answering:
    """Ends each connection after 100,000 bytes; goes on from there when asked to."""

    def answer(request: Request) -> Answer:
        content = (shelf / request.path[1:]).read_bytes()
        begin = int((request.headers["Range"] or "bytes=0-")[6:-1])
        if begin and request.headers["If-Range"] != tag:
            begin = 0
        headers = {"Content-Length": str(len(content) - begin)}
        if begin:
            headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        if tag:
            headers["ETag"] = tag
        body = content[begin : begin + 100_000]
        return Answer(status=206 if begin else 200, headers=headers, body=body)

    return answer


def _noise(size: int) -> str:
    return "".join(hashlib.sha256(str(n).encode()).hexdigest() for n in range(size // 64))


def test_a_connection_that_breaks_is_taken_up_where_it_broke(
    shelf: Path, fetch_context: FetchContext
) -> None:
    path = zipped(shelf / "node.zip", {"noise": _noise(256_000), "x": ""})
    with serve(shelf, breaking(shelf, tag='"one"')) as url:
        tree = fetch(f"{url}/node.zip", fetch_context, commit=pin_of(path))
    assert (tree.path / "noise").stat().st_size == 256_000


def test_without_a_tag_that_says_it_is_the_same_file_a_broken_one_is_not_taken_up(
    shelf: Path, fetch_context: FetchContext
) -> None:
    zipped(shelf / "node.zip", {"noise": _noise(256_000), "x": ""})
    with serve(shelf, breaking(shelf, tag="")) as url:
        refused(f"{url}/node.zip", fetch_context, "could not be read")


def test_a_server_that_falls_silent_is_given_up(
    shelf: Path, fetch_context: FetchContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfy_http.client._STALL_S", 0.3)
    beginning = b"PK\3\4" + b"x" * 1000
    with serve(shelf, lambda _: cut(beginning * 5, len(beginning), stalls=True)) as url:
        refused(f"{url}/node.zip", fetch_context, "sent nothing for 0.3 s")
