"""A spec from its file: what is read, and the one sentence for everything that is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfy_errors import InvalidInputError, UnavailableError
from runpod_comfy.spec.load import find_spec, load_spec
from tests.runpod_comfy.spec.spec_files import (
    Change,
    changed,
    complaint_of,
    complaints_of,
    document,
    save,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_a_spec_is_read_with_its_path(tmp_path: Path) -> None:
    path = save(tmp_path, json.dumps(document()).encode())
    loaded = load_spec(path)
    assert loaded.path == path
    assert loaded.spec.comfy.commit == "1" * 40
    assert [node.kind for node in loaded.spec.custom_nodes] == ["git", "folder"]
    assert loaded.spec.options.torch.version == "2.11.0"


def test_a_byte_order_mark_of_an_editor_does_no_harm(tmp_path: Path) -> None:
    path = save(tmp_path, b"\xef\xbb\xbf" + json.dumps(document()).encode())
    assert load_spec(path).spec.version_id == "x"


def test_what_is_no_object_names_the_command_that_writes_a_spec(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="must be a JSON object") as caught:
        load_spec(save(tmp_path, b"[]"))
    assert "runpod-comfy create" in caught.value.remedy


def test_what_may_be_left_out_may_be_left_out(tmp_path: Path) -> None:
    spec = {"schema_version": 2, "version_id": "x", "comfy": {"repo": "core"}}
    loaded = load_spec(save(tmp_path, json.dumps(spec).encode()))
    assert loaded.spec.models == []
    assert loaded.spec.env == {}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "it is empty at line 1, column 1"),
        (b'{\n  "a": 1,\n}', "at line 3, column 1"),
        (b"{'a': 1}", "at line 1, column 2"),
        (b"[1]", "must be a JSON object"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": "\xff"}', "not a text file in UTF-8 (byte 7)"),
        (b"\xff\xfe{\x00", "written in UTF-16"),
        (b'{"schema_version": 2, "comfy": {"repo": "a", "repo": "b"}}', "'comfy.repo' twice"),
        (b'{"models": [{}, {"a": 1, "a": 1}]}', "'models[1].a' twice"),
        (b'{"a": "\\ud800"}', r"half of a character, '\ud800'"),
        (b" " * 5_000_000, "too large for a spec"),
    ],
)
def test_what_is_not_json_is_refused_with_its_place(
    tmp_path: Path, content: bytes, sentence: str
) -> None:
    assert sentence in complaint_of(tmp_path, content).message


@pytest.mark.parametrize(
    ("change", "sentence", "remedy"),
    [
        (lambda s: s["custom_nodes"][1].update(reff="x"), "'custom_nodes[1].reff'", "'ref'"),
        (lambda s: s["options"].update(pyton="3.11"), "'options.pyton'", "'python'"),
        (
            lambda s: s["options"]["torch"].update(verzion="2"),
            "'options.torch.verzion'",
            "'version'",
        ),
        (lambda s: s["models"][0].update(check="x"), "'models[0].check'", "'checksum'"),
        (lambda s: s.update(node=[]), "'node'", "'models'"),
    ],
)
def test_an_unknown_key_names_its_path_and_the_nearest_valid_name(
    tmp_path: Path, change: Change, sentence: str, remedy: str
) -> None:
    error = complaint_of(tmp_path, changed(change))
    assert f"unknown key {sentence}" in error.message
    assert "Known here: " in error.remedy
    if sentence != "'node'":
        assert f"Did you mean {remedy}?" in error.remedy


@pytest.mark.parametrize(
    ("version", "sentence"),
    [
        (1, "is 1, which is no longer used"),
        (3, "is 3, which is not known"),
        ("2", "is '2', which is not known"),
        (None, "'schema_version' is missing"),
    ],
)
def test_another_schema_version_is_named_with_the_one_that_is_read(
    tmp_path: Path, version: object, sentence: str
) -> None:
    error = complaint_of(tmp_path, changed(lambda s: s.update(schema_version=version)))
    assert sentence in error.message
    assert "2" in error.message + error.remedy


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: s["comfy"].pop("repo"), "'comfy.repo' is missing"),
        (lambda s: s.update(models=3), "'models' must be a list"),
        (lambda s: s["env"].update(A=1), "'env.A' must be text in double quotes, not a number"),
        (lambda s: s["env"].update({"A-B": ""}), "'env.A-B' is not a valid name"),
        (lambda s: s["env"].update({"A\x1b[31m": ""}), "'env.'A\\x1b[31m''"),
        (lambda s: s["env"].update(HF_TOKEN="x"), "'env.HF_TOKEN' is a secret"),
        (lambda s: s.update(version_id="a b"), "'version_id' must start with a letter"),
        (lambda s: s.update(version_id="y"), "'version_id' is 'y', but the file is named 'x.json'"),
        (lambda s: s["options"].update(platforms=["plan9"]), "'options.platforms[0]' must be"),
        (lambda s: s["options"].update(python="3"), "must be a minor version such as '3.11'"),
        (
            lambda s: s["options"].update(run_install_scripts=["Frist"]),
            "'options.run_install_scripts[0]' names 'Frist', but the spec has no custom node",
        ),
        (
            lambda s: s["options"].update(overrides=["numpy<2", "numpy=>1"]),
            "'options.overrides[1]' must be a requirement such as 'numpy<2', not 'numpy=>1'",
        ),
        (
            lambda s: s["options"].update(overrides=["x @ https://example.com/x.whl"]),
            "'options.overrides[0]' must name a released version",
        ),
        (
            lambda s: s["options"].update(overrides=["a<2", "b", "A>3"]),
            "'options.overrides[2]' is about 'A', which options.overrides[0] already overrides",
        ),
        (
            lambda s: s["options"].update(overrides=["numpy===="]),
            "'options.overrides[0]' must be a requirement such as 'numpy<2', not 'numpy===='",
        ),
        (
            lambda s: s["options"].update(constraints=["numpy===x"]),
            "'options.constraints[0]' must be a requirement such as 'numpy<2', not 'numpy===x'",
        ),
        (
            lambda s: s["options"].update(requirements=["-r more.txt"]),
            "'options.requirements[0]' must be a requirement such as 'numpy<2'",
        ),
        (
            lambda s: s["options"].update(build_requirements={"-x": ["six"]}),
            "'options.build_requirements.-x' must be the name of a distribution",
        ),
        (
            lambda s: s["options"].update(build_requirements={"needy": ["git+https://x"]}),
            "'options.build_requirements.needy[0]' must be a requirement such as",
        ),
        (
            lambda s: s["options"].update(build_requirements={"needy": []}),
            "'options.build_requirements.needy' must not be empty",
        ),
        (
            lambda s: s["options"].update(constraints=["numpy"]),
            "'options.constraints[0]' must bound a version",
        ),
        (
            lambda s: s["options"].update(constraints=["numpy[x]<2"]),
            "'options.constraints[0]' must not name extras",
        ),
        (
            lambda s: s["options"].update(torch={"index": "https://h/whl?token=x"}),
            "'options.torch.index' must not contain a token",
        ),
        (
            lambda s: s["options"].update(torch={"index": 'https://h/"whl'}),
            "'options.torch.index' must be an index URL",
        ),
        (
            lambda s: s["options"].update(import_needs={"Frist": ["gpu"]}),
            "'options.import_needs' names 'Frist', but the spec has no custom node of that name",
        ),
        (
            lambda s: s["options"].update(import_needs={"first": ["GPU"]}),
            "'options.import_needs.first[0]' must be 'gpu', or 'env:NAME' for a variable such as",
        ),
        (
            lambda s: s["options"].update(allow_pickle=["no"]),
            "'options.allow_pickle[0]' names 'no', but the spec has no model",
        ),
    ],
)
def test_a_wrong_value_is_named_by_its_path(tmp_path: Path, change: Change, sentence: str) -> None:
    assert sentence in complaint_of(tmp_path, changed(change)).message


@pytest.mark.parametrize(
    ("repo", "sentence"),
    [
        ("--upload-pack=touch x", "must not start with '-'"),
        ("ext::sh -c 'touch x'", "remote helpers"),
        ("https://someone:secret@github.com/a/b", "must not contain a user name or password"),
        ("https://token@github.com/a/b", "must not contain a user name or password"),
        ("ssh://git:secret@github.com/a/b", "must not contain a user name or password"),
        ("ftp://example.com/x", "unknown scheme 'ftp://'"),
        ("pypi://some-name@1.0", "the version goes in 'ref'"),
        ("https://github.com/a/b#subdir=c", "use 'subdir' for a folder"),
        ("ssh://-oProxyCommand=x/y", "a host that starts with '-'"),
        ("a\nb", "control characters"),
        ("", "must not be empty"),
        ("~/core", "without '~'"),
    ],
)
def test_an_unsafe_or_unknown_repo_is_refused(tmp_path: Path, repo: str, sentence: str) -> None:
    error = complaint_of(tmp_path, changed(lambda s: s["comfy"].update(repo=repo, commit=None)))
    assert f"'comfy.repo' {sentence}" in error.message or sentence in error.message
    assert "secret" not in error.message
    assert "token@" not in error.message


@pytest.mark.parametrize(
    "repo",
    [
        "https://github.com/a/b",
        "ssh://git@github.com/a/b.git",
        "git@github.com:a/b",
        "file:///srv/core",
        "../core",
        "/srv/core",
    ],
)
def test_every_kind_of_tree_without_a_version_is_accepted(tmp_path: Path, repo: str) -> None:
    spec = document()
    spec["comfy"] = {"repo": repo}
    load_spec(save(tmp_path, json.dumps(spec).encode()))


@pytest.mark.parametrize(
    ("tree", "sentence"),
    [
        ({"repo": "https://h/a", "commit": "abc"}, "'comfy.commit' must be a full git commit"),
        ({"repo": "https://h/a", "commit": "tree:" + COMMIT}, "needs a git commit of 40 hex"),
        ({"repo": "./core", "commit": COMMIT}, "needs the 'tree:…' hash"),
        ({"repo": "pypi://a", "ref": "1", "commit": COMMIT}, "needs the 'sha256:…'"),
        ({"repo": "pypi://a"}, "'comfy.ref' is missing: pypi://a needs a version"),
        ({"repo": "comfy://a"}, "'comfy.ref' is missing: comfy://a needs a version"),
        ({"repo": "./core", "ref": "main"}, "'comfy' has a 'ref'"),
        ({"repo": "https://h/a", "ref": "--upload-pack=x"}, "'comfy.ref' is not a valid git ref"),
        ({"repo": "https://h/a", "ref": "a..b"}, "'comfy.ref' is not a valid git ref"),
        ({"repo": "https://h/a", "subdir": "../x"}, "'comfy.subdir' must be a path without '..'"),
    ],
)
def test_a_tree_whose_parts_do_not_fit_is_refused(
    tmp_path: Path, tree: dict[str, str], sentence: str
) -> None:
    assert sentence in complaint_of(tmp_path, changed(lambda s: s.update(comfy=tree))).message


@pytest.mark.parametrize(
    "tree",
    [
        {"repo": "pypi://a", "ref": "1.0", "commit": "sha256:" + "0" * 64},
        {"repo": "comfy://a", "ref": "1.0"},
        {"repo": "https://example.com/a.zip", "commit": "sha256:" + "0" * 64},
    ],
)
def test_trees_from_archives_and_indexes_are_valid_in_a_spec(
    tmp_path: Path, tree: dict[str, str]
) -> None:
    load_spec(save(tmp_path, changed(lambda s: s.update(comfy=tree))))


@pytest.mark.parametrize("name", ["__pycache__", "..", "a/b", "x.disabled", "-x", ""])
def test_a_node_name_that_the_core_would_not_import_is_refused(tmp_path: Path, name: str) -> None:
    error = complaint_of(tmp_path, changed(lambda s: s["custom_nodes"][0].update(name=name)))
    assert "'custom_nodes[0].name' must" in error.message


def test_node_names_that_differ_in_case_only_are_the_same(tmp_path: Path) -> None:
    error = complaint_of(tmp_path, changed(lambda s: s["custom_nodes"][1].update(name="FIRST")))
    assert "'custom_nodes[1].name' is 'FIRST', which custom_nodes[0] already has" in error.message


def test_everything_that_is_wrong_has_a_line_of_its_own(tmp_path: Path) -> None:
    error = complaints_of(tmp_path, changed(lambda s: s.update(models=1, env=1, custom_node=1)))
    first, *lines = error.message.splitlines()
    assert first.endswith("has 3 errors:")
    assert lines[0].startswith("  unknown key 'custom_node'. Did you mean 'custom_nodes'?")
    assert [line.split(" must be")[0] for line in lines[1:]] == ["  'models'", "  'env'"]
    assert error.remedy


def test_contradictions_are_all_named(tmp_path: Path) -> None:
    options = {"allow_pickle": ["nothing"], "run_install_scripts": ["no-node"]}
    error = complaints_of(tmp_path, changed(lambda s: s["options"].update(options)))
    assert "has 2 errors:" in error.message
    assert "'no-node'" in error.message
    assert "'nothing'" in error.message


def test_errors_beyond_a_screenful_are_counted(tmp_path: Path) -> None:
    error = complaints_of(tmp_path, changed(lambda s: s.update({f"k{n}": 1 for n in range(25)})))
    assert "has 25 errors:" in error.message
    assert error.message.splitlines()[-1] == "  and 5 more"


def test_a_missing_spec_is_unavailable_and_names_the_nearest(tmp_path: Path) -> None:
    save(tmp_path, json.dumps(document()).encode()).rename(tmp_path / "versions" / "portrait.json")
    with pytest.raises(UnavailableError) as caught:
        load_spec(find_spec("portrat", tmp_path))
    assert str(tmp_path / "versions" / "portrat.json") in caught.value.message
    assert "Did you mean 'portrait'?" in caught.value.remedy
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("version_id", ["../x", "", "a/b", "-x", "x" * 65])
def test_an_id_that_no_version_can_have_is_invalid(tmp_path: Path, version_id: str) -> None:
    with pytest.raises(InvalidInputError, match="the version id"):
        find_spec(version_id, tmp_path)


def test_a_folder_in_place_of_a_spec_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="is a folder"):
        load_spec(tmp_path)


def test_a_lock_is_not_taken_for_a_spec_without_a_schema_version(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"lock_version": 2, "version_id": "demo"}')
    with pytest.raises(InvalidInputError, match="x.json is a lock, not a spec") as caught:
        load_spec(path)
    assert "--lock" in caught.value.remedy
