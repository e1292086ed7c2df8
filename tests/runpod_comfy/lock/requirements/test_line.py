"""What one line of a hostile requirements file is taken for."""

from __future__ import annotations

import pytest

from runpod_comfy.lock.requirements.line import (
    Include,
    NotFollowed,
    Plain,
    Refused,
    quoted,
    read_line,
)


@pytest.mark.parametrize(
    ("line", "texts"),
    [
        ("numpy", ["numpy"]),
        ("numpy >=1.25, <3 ; python_version < '3.12'", None),
        ("opencv-python-headless[ffmpeg]", None),
        ("SQLAlchemy", None),
        ("'numpy>=1.25'", ["numpy>=1.25"]),
        ("numpy>=1.25,", ["numpy>=1.25"]),
        # As a widely used node has it.
        ("numpy<1.24>=1.18", ["numpy<1.24,>=1.18"]),
        ("torch>=1.9.*", ["torch>=1.9"]),
        ("diffusers[torch]>=0.2<1 ; os_name == 'posix'", None),
        ("pip install -U alpha beta>=2", ["alpha", "beta>=2"]),
        ("!python3 -m pip install 'alpha[x]>=1'", ["alpha[x]>=1"]),
        ("uv pip install alpha", ["alpha"]),
        ("alpha --hash=sha256:0123", ["alpha"]),
        ("torch --index-url https://download.pytorch.org/whl/cu121", ["torch"]),
    ],
)
def test_a_requirement_is_taken_as_it_is_meant(line: str, texts: list[str] | None) -> None:
    outcomes = list(read_line(line))
    plain = [outcome.text for outcome in outcomes if isinstance(outcome, Plain)]
    assert not [outcome for outcome in outcomes if isinstance(outcome, Refused)]
    if texts is None:
        assert len(plain) == 1
    else:
        assert plain == texts


def test_what_is_read_differently_is_reported() -> None:
    (outcome,) = read_line("numpy<1.24>=1.18")
    assert isinstance(outcome, Plain)
    assert outcome.note == "is read as 'numpy<1.24,>=1.18'"


@pytest.mark.parametrize(
    ("line", "option", "instead"),
    [
        (
            "--extra-index-url https://download.pytorch.org/whl/cu121",
            "--extra-index-url https://download.pytorch.org/whl/cu121",
            "options.torch.index",
        ),
        ("-i https://mirror.example/simple", "-i https://mirror.example/simple", "pip config"),
        ("--index-url=https://u:secret@x.example/", "--index-url https://***@x", "pip config"),
        ("--find-links ./wheels", "--find-links ./wheels", "pip configuration"),
        ("--trusted-host x.example", "--trusted-host x.example", "setting of the machine"),
        ("--pre", "--pre", "options.overrides"),
        ("--no-binary :all:", "--no-binary :all:", "every file of a release"),
        ("--require-hashes", "--require-hashes", "hashes of its index"),
        ("alpha --hash=sha256:0123", "--hash sha256:0123", "hashes of its index"),
        # pip's options are in lower case, and `-I` takes no value; what was meant is plain.
        ("--Extra-Index-URL https://x.example", "--extra-index-url https://x.example", "pip conf"),
        ("-I https://x.example/simple", "-i https://x.example/simple", "pip configuration"),
        ("--PRE", "--pre", "options.overrides"),
        ("-i HTTPS://DOWNLOAD.PYTORCH.ORG/whl", "-i HTTPS://DOWN", "options.torch.index"),
        ("--use-feature=fast-deps", "--use-feature fast-deps", "always installed the same way"),
    ],
)
def test_an_option_is_not_followed_and_what_to_do_is_reported(
    line: str, option: str, instead: str
) -> None:
    (outcome,) = (each for each in read_line(line) if isinstance(each, NotFollowed))
    assert outcome.option.startswith(option)
    assert instead in outcome.instead
    assert "secret" not in outcome.option


@pytest.mark.parametrize(
    ("line", "path", "is_constraint"),
    [
        ("-r other.txt", "other.txt", False),
        ("-rother.txt", "other.txt", False),
        ("--requirement=sub/other.txt", "sub/other.txt", False),
        ("-c bounds.txt", "bounds.txt", True),
        ("--constraint bounds.txt", "bounds.txt", True),
    ],
)
def test_a_file_is_included(line: str, path: str, is_constraint: bool) -> None:
    assert list(read_line(line)) == [Include(path=path, is_constraint=is_constraint)]


@pytest.mark.parametrize(
    ("line", "name", "why"),
    [
        ("git+https://github.com/a/img2texture.git", "img2texture", "repository"),
        ("git+https://github.com/a/utils3d.git@1.2#egg=Utils_3D", "utils-3d", "repository"),
        ("git+ssh://git@github.com/a/b.git@main", "b", "repository"),
        ("git@github.com:a/b.git", "b", "repository"),
        ("https://github.com/a/b.git", "b", "repository"),
        ("sam @ git+https://github.com/a/segment", "sam", "repository"),
        ("sam[x] @ https://example.com/other-1.0-py3-none-any.whl", "sam", "URL"),
        ("https://example.com/b_c-1.0-py3-none-any.whl", "b-c", "URL"),
        ("https://github.com/a/b/archive/refs/heads/main.zip", "b", "URL"),
        ("https://example.com/b-1.0.tar.gz ; sys_platform == 'linux'", "b", "URL"),
        ("b @ file:///home/me/b", "b", "local path"),
        ("file:///home/me/b-1.0.tar.gz", "b", "local path"),
        ("./wheels/b-1.0-py3-none-any.whl", "b", "local path"),
        ("C:\\wheels\\b-1.0-py3-none-any.whl", "b", "local path"),
        (".", None, "local path"),
        ("-e .", None, "editable"),
        ("-e git+https://github.com/a/b.git#egg=b", "b", "editable"),
        ("--editable=./b", "b", "editable"),
        ("numpy==${VERSION}", "numpy", "environment"),
        ("numpy=>1.25", "numpy", "not a requirement"),
        ("please install numpy first", None, "not a requirement"),
        ("<<<<<<< HEAD", None, "git merge"),
        ("=======", None, "git merge"),
        (">>>>>>> 0123abc", None, "git merge"),
        ("num\0py", None, "characters"),
        ("a" * 5000, None, "5000 characters"),
        ("--frobnicate", None, "--frobnicate"),
        ("pip install 'alpha", None, "quotation mark"),
        ("números>=1", None, "not a requirement"),
        # These only uv refuses.
        ("numpy_", None, "not a requirement"),
        ("numpy[extra_]", "numpy", "not a requirement"),
        ("numpy===abc", "numpy", "not a requirement"),
        ("numpy ; python_version ~= '3.*'", "numpy", "not a requirement"),
        # What comes after an unknown option may be its value.
        ("-R other.txt", None, "has the option -R"),
        ("--Frob https://x.example/b.zip", None, "has the option --frob"),
        ("GIT+HTTPS://github.com/a/b.git", "b", "repository"),
        ("./wheels/B-1.0-py3-none-any.WHL", "b-1-0-py3-none-any-whl", "local path"),
    ],
)
def test_what_cannot_be_pinned_is_refused(line: str, name: str | None, why: str) -> None:
    (outcome,) = read_line(line)
    assert isinstance(outcome, Refused)
    assert outcome.name == name
    assert why in outcome.why


def test_a_refused_line_keeps_its_extras_and_marker_for_an_override() -> None:
    (outcome,) = read_line("sam[x] @ git+https://example.com/s.git ; sys_platform == 'linux'")
    assert isinstance(outcome, Refused)
    assert outcome.plain == 'sam[x] ; sys_platform == "linux"'


def test_a_line_is_quoted_short_printable_and_without_passwords() -> None:
    assert quoted("git+https://me:secret@host/x") == "'git+https://***@host/x'"
    assert quoted("a\x1b[31mb") == "'a\\x1b[31mb'"
    assert len(quoted("a" * 5000)) < 200
