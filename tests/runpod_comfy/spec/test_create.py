"""`create` on real git repositories: what the guide promises, and what is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfy_errors import ComfyError, InvalidInputError, MismatchError, UnavailableError
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.sources.kinds import settle
from runpod_comfy.spec.create import create_spec
from runpod_comfy.spec.load import load_spec
from runpod_comfy.spec.model import Spec
from runpod_comfy.spec.write import spec_text, write_spec
from tests.comfy_releases import ComfyRepository
from tests.git_repositories import GitRepository

Create = Callable[..., Spec]


@pytest.fixture
def create(tmp_path: Path, fetch_context: FetchContext, said: list[str]) -> Create:
    """`create` in `tmp_path`, for the file `versions/x.json` there."""
    output = tmp_path / "versions" / "x.json"
    of_spec = replace(fetch_context, base_dir=output.parent)

    def run(
        repo: str,
        nodes: Sequence[str] = (),
        models: Sequence[str] = (),
        models_root: Path | None = None,
        auto_checksum: bool = False,
        version_id: str = "x",
    ) -> Spec:
        return create_spec(
            version_id,
            repo=repo,
            nodes=nodes,
            models=models,
            models_root=models_root,
            auto_checksum=auto_checksum,
            output=output,
            working_dir=tmp_path,
            settle=lambda trees: [settle(tree, of_spec) for tree in trees],
            say=said.append,
        )

    return run


@pytest.fixture
def core(tmp_path: Path) -> str:
    """A folder that stands for the core where it does not matter."""
    folder = tmp_path / "core"
    folder.mkdir()
    (folder / "main.py").write_text("")
    return "core"


def test_the_spec_is_written_as_the_guide_shows_it(
    create: Create, comfy_git: ComfyRepository, node_git: GitRepository, tmp_path: Path
) -> None:
    model = tmp_path / "models" / "m.safetensors"
    model.parent.mkdir()
    model.write_bytes(b"weights")
    argument = json.dumps({"source": model.as_uri(), "target_subdir": "checkpoints"})
    spec = create(
        f"{comfy_git.path}@v0.3.52",
        nodes=[f"{node_git.url}@main"],
        models=[argument],
        auto_checksum=True,
    )
    path = tmp_path / "versions" / "x.json"
    assert write_spec(spec, path, force=False)
    expected: dict[str, Any] = {
        "schema_version": 2,
        "version_id": "x",
        "comfy": {
            "repo": comfy_git.url,
            "ref": "v0.3.52",
            "commit": comfy_git.commits["v0.3.52"],
        },
        "custom_nodes": [
            {
                "name": "Small-Node",
                "repo": node_git.url,
                "ref": "main",
                "commit": node_git.git("rev-parse", "main"),
            }
        ],
        "models": [
            {
                "name": "m.safetensors",
                "source": model.as_uri(),
                "target_subdir": "checkpoints",
                "target_path": "checkpoints/m.safetensors",
                "checksum": "sha256:" + hashlib.sha256(b"weights").hexdigest(),
            }
        ],
        "env": {},
        "options": {},
    }
    assert path.read_text() == json.dumps(expected, indent=4) + "\n"
    assert load_spec(path).spec == spec


def test_without_a_ref_the_default_branch_is_taken_and_named(
    create: Create, comfy_git: ComfyRepository
) -> None:
    spec = create(comfy_git.url)
    assert spec.comfy.ref == "main"
    assert spec.comfy.commit == comfy_git.commits["v0.3.75"]


def test_a_whole_commit_is_taken_as_it_is(create: Create, comfy_git: ComfyRepository) -> None:
    commit = comfy_git.commits["v0.3.52"]
    spec = create(f"{comfy_git.url}@{commit}")
    assert (spec.comfy.ref, spec.comfy.commit) == (commit, commit)


def test_on_another_platform_the_spec_is_for_that_one_too(
    create: Create, core: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert create(core).options.platforms == []
    for here in ("macos-arm64", "linux-aarch64"):
        monkeypatch.setattr("runpod_comfy.spec.create.this_platform", lambda here=here: here)
        assert create(core).options.platforms == ["linux-x86_64", here]
    monkeypatch.setattr("runpod_comfy.spec.create.this_platform", lambda: "freebsd-amd64")
    assert create(core).options.platforms == []


def test_an_unknown_ref_is_answered_with_the_nearest(
    create: Create, comfy_git: ComfyRepository
) -> None:
    with pytest.raises(UnavailableError, match=r"no branch or tag '0\.3\.52'") as caught:
        create(f"{comfy_git.url}@0.3.52")
    assert "v0.3.52" in caught.value.remedy


def test_a_subdir_is_taken_from_the_fragment(create: Create, comfy_git: ComfyRepository) -> None:
    text = f"{comfy_git.url}@v0.3.75#subdir=tests/execution/testing_nodes/testing-pack"
    spec = create(comfy_git.url, nodes=[text])
    node = spec.custom_nodes[0]
    assert (node.name, node.ref) == ("testing-pack", "v0.3.75")
    assert node.subdir == "tests/execution/testing_nodes/testing-pack"


def test_nodes_come_as_object_file_and_list(
    create: Create, core: str, node_git: GitRepository, tmp_path: Path
) -> None:
    one = {"name": "One", "repo": node_git.url, "ref": "main"}
    two = {"name": "Two", "repo": node_git.url}
    three = {"name": "Three", "repo": "Small-Node", "ref": "main"}
    (tmp_path / "two.json").write_text(json.dumps(two))
    (tmp_path / "list.json").write_text(json.dumps([three]))
    spec = create(core, nodes=[json.dumps(one), "two.json", "list.json"])
    assert [node.name for node in spec.custom_nodes] == ["One", "Two", "Three"]
    assert {node.repo for node in spec.custom_nodes} == {node_git.url}
    assert {node.commit for node in spec.custom_nodes} == {node_git.git("rev-parse", "main")}


def test_a_commit_given_with_a_ref_must_be_in_its_history(
    create: Create, core: str, node_git: GitRepository
) -> None:
    older = node_git.git("rev-parse", "main")
    node_git.write("new.py", "")
    node_git.commit("Newer")
    node_git.git("checkout", "--quiet", "--orphan", "stranger")
    strange = node_git.commit("From elsewhere")
    node = {"repo": node_git.url, "ref": "main", "commit": older}
    assert create(core, nodes=[json.dumps(node)]).custom_nodes[0].commit == older
    with pytest.raises(MismatchError, match="not in the history of 'main'"):
        create(core, nodes=[json.dumps({**node, "commit": strange})])


def test_folders_are_rewritten_from_the_working_directory_to_the_spec(
    create: Create, core: str, tmp_path: Path
) -> None:
    for place in ("nodes/first", "versions/x/second"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "__init__.py").write_text("")
    spec = create(core, nodes=["nodes/first", "./versions/x/second"])
    assert spec.comfy.repo == "../core"
    assert [node.repo for node in spec.custom_nodes] == ["../nodes/first", "x/second"]
    assert [node.name for node in spec.custom_nodes] == ["first", "second"]
    # Its lock pins a folder, so that working on it changes no spec.
    assert spec.comfy.commit is None


def test_a_folder_with_a_ref_must_be_a_repository(create: Create, core: str) -> None:
    with pytest.raises(InvalidInputError, match="is not a git repository"):
        create(f"{core}@main")


def test_models_come_as_object_and_as_file(create: Create, core: str, tmp_path: Path) -> None:
    (tmp_path / "local.pth").write_bytes(b"x")
    (tmp_path / "models.json").write_text(
        json.dumps(
            [
                {"source": "https://e.com/a.bin?download=true", "target_path": "vae/renamed.bin"},
                {"source": "hf://o/n/file%20b.bin", "target_subdir": "loras/"},
            ]
        )
    )
    argument = {"source": "file:local.pth", "target_subdir": "upscale_models", "name": "Local"}
    spec = create(core, models=["models.json", json.dumps(argument)])
    assert [(model.name, model.target_subdir, model.target_path) for model in spec.models] == [
        ("renamed.bin", "vae", "vae/renamed.bin"),
        ("file b.bin", "loras", "loras/file b.bin"),
        ("Local", "upscale_models", "upscale_models/Local"),
    ]
    assert spec.models[2].source == "../local.pth"


def test_a_checksum_copied_in_capitals_is_written_as_the_spec_wants_it(
    create: Create, core: str
) -> None:
    model = {"source": "https://e.com/a.bin", "target_subdir": "vae", "checksum": "AB" * 32}
    spec = create(core, models=[json.dumps(model)])
    assert spec.models[0].checksum == "sha256:" + "ab" * 32


def test_auto_checksum_finds_files_below_the_models_root(
    create: Create, core: str, tmp_path: Path, said: list[str]
) -> None:
    (tmp_path / "root" / "vae").mkdir(parents=True)
    (tmp_path / "root" / "vae" / "a.bin").write_bytes(b"a")
    (tmp_path / "root" / "b.bin").write_bytes(b"b")
    models = [
        json.dumps({"source": f"https://e.com/{name}.bin", "target_subdir": "vae"})
        for name in "abc"
    ]
    spec = create(core, models=models, models_root=Path("root"), auto_checksum=True)
    assert [model.checksum for model in spec.models] == [
        "sha256:" + hashlib.sha256(b"a").hexdigest(),
        "sha256:" + hashlib.sha256(b"b").hexdigest(),
        None,
    ]
    assert any("c.bin: no local file" in line for line in said)


def test_without_auto_checksum_nothing_is_hashed(create: Create, core: str, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"a")
    model = json.dumps({"source": "a.bin", "target_subdir": "vae"})
    assert create(core, models=[model]).models[0].checksum is None


def test_a_local_file_with_another_checksum_is_a_mismatch(
    create: Create, core: str, tmp_path: Path
) -> None:
    (tmp_path / "a.bin").write_bytes(b"a")
    model = {"source": "a.bin", "target_subdir": "vae", "checksum": "sha256:" + "0" * 64}
    with pytest.raises(MismatchError, match=r"a\.bin has sha256:"):
        create(core, models=[json.dumps(model)], auto_checksum=True)


@pytest.mark.parametrize(
    ("model", "error", "sentence"),
    [
        ("nothing", InvalidInputError, "neither a JSON object nor a JSON file"),
        ("missing.json", UnavailableError, "there is no file"),
        ('{"source": ', InvalidInputError, "--models is not valid JSON"),
        ('[{"source": "https://e.com/a.b", "target_subdir": "v"}, 3]', InvalidInputError, "[1]"),
        ('{"sourc": "x"}', InvalidInputError, "unknown key 'sourc'"),
        ('{"target_subdir": "x"}', InvalidInputError, "'source' is missing"),
        ('{"source": "https://e.com/a.bin"}', InvalidInputError, "needs a 'target_path'"),
        ('{"source": "civitai://1", "target_subdir": "v"}', InvalidInputError, "no file name"),
        (
            '{"source": "gone.bin", "target_subdir": "v"}',
            UnavailableError,
            "gone.bin does not exist",
        ),
        (
            '{"source": "https://e.com/a.bin", "target_path": "../a.bin"}',
            InvalidInputError,
            "'target_path' must be a path without '..'",
        ),
    ],
)
def test_a_model_that_is_not_understood_is_refused(
    create: Create, core: str, model: str, error: type[ComfyError], sentence: str
) -> None:
    with pytest.raises(error) as caught:
        create(core, models=[model])
    assert sentence in caught.value.message
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("node", "error", "sentence"),
    [
        ("--upload-pack=touch x", InvalidInputError, "must not start with '-'"),
        ("ext::sh -c touch% x", InvalidInputError, "remote helpers"),
        ("ftp://e.com/x", InvalidInputError, "unknown scheme"),
        ("gone", UnavailableError, "there is no folder"),
        ("file:///gone/repository@main", UnavailableError, "cannot be read"),
        ("https://e.com/x@", InvalidInputError, "has no ref after its '@'"),
        ("https://e.com/x@main#egg=x", InvalidInputError, "'#egg=x'"),
        ('{"repo": "https://e.com/x", "reff": "y"}', InvalidInputError, "unknown key 'reff'"),
        ('{"repo": "https://e.com/x", "ref": 1}', InvalidInputError, "'ref' must be text"),
    ],
)
def test_a_node_that_is_not_understood_is_refused(
    create: Create, core: str, node: str, error: type[ComfyError], sentence: str
) -> None:
    with pytest.raises(error) as caught:
        create(core, nodes=[node])
    assert sentence in caught.value.message
    assert caught.value.remedy


def test_two_nodes_of_one_name_are_refused(
    create: Create, core: str, node_git: GitRepository
) -> None:
    with pytest.raises(InvalidInputError, match="which custom_nodes.0. already has"):
        create(core, nodes=[node_git.url, node_git.url])


def test_a_bad_id_is_refused_before_anything_is_asked(create: Create) -> None:
    with pytest.raises(InvalidInputError, match="the version id"):
        create("https://host.invalid/core", version_id="../x")


@pytest.mark.parametrize(
    ("text", "repo", "ref"),
    [
        ("git@github.com:owner/repo@v1", "git@github.com:owner/repo", "v1"),
        ("git@github.com:repo@v1", "git@github.com:repo", "v1"),
        ("git@github.com:repo", "git@github.com:repo", None),
        ("ssh://git@host/repo", "ssh://git@host/repo", None),
        ("https://e.com/@scope/repo@v1@2", "https://e.com/@scope/repo@v1", "2"),
        ("pypi://name@1.2.3", "pypi://name", "1.2.3"),
    ],
)
def test_the_last_at_sign_after_the_last_slash_or_colon_splits(
    tmp_path: Path, text: str, repo: str, ref: str | None
) -> None:
    spec = create_spec(
        "x",
        repo=text,
        nodes=[],
        models=[],
        models_root=None,
        auto_checksum=False,
        output=tmp_path / "x.json",
        working_dir=tmp_path,
        settle=lambda trees: [
            tree.model_copy(update={"ref": tree.ref or "asked"}) for tree in trees
        ],
        say=lambda _: None,
    )
    assert (spec.comfy.repo, spec.comfy.ref) == (repo, ref or "asked")


def test_writing_the_same_again_does_nothing(create: Create, core: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.json"
    spec = create(core)
    assert write_spec(spec, path, force=False)
    before = path.stat().st_mtime_ns
    assert not write_spec(spec, path, force=False)
    assert path.stat().st_mtime_ns == before


def test_a_different_spec_is_only_replaced_by_force(
    create: Create, core: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.json"
    path.write_text("mine\n")
    spec = create(core)
    with pytest.raises(InvalidInputError, match="differs from the requested spec") as caught:
        write_spec(spec, path, force=False)
    assert "--force" in caught.value.remedy
    assert path.read_text() == "mine\n"
    assert write_spec(spec, path, force=True)
    assert path.read_text() == spec_text(spec)
    assert list(tmp_path.glob(".x.json*")) == []


def test_a_link_to_a_spec_stays_a_link(create: Create, core: str, tmp_path: Path) -> None:
    real = tmp_path / "real.json"
    link = tmp_path / "link.json"
    link.symlink_to(real)
    write_spec(create(core), link, force=False)
    assert link.is_symlink()
    assert real.is_file()


def test_an_annotated_tag_means_the_commit_that_it_points_to(
    create: Create, core: str, node_git: GitRepository
) -> None:
    node_git.git("tag", "--annotate", "--message", "First", "v1")
    assert node_git.git("rev-parse", "v1") != node_git.git("rev-parse", "main")
    node = create(core, nodes=[f"{node_git.url}@v1"]).custom_nodes[0]
    assert (node.ref, node.commit) == ("v1", node_git.git("rev-parse", "main"))


def test_one_thing_wrong_among_many_leaves_no_trace(
    create: Create, core: str, node_git: GitRepository, tmp_path: Path
) -> None:
    model = json.dumps({"source": "https://e.com/a.bin", "target_subdir": "vae"})
    with pytest.raises(UnavailableError, match="no branch or tag 'gone'"):
        create(core, nodes=[node_git.url, f"{node_git.url}@gone"], models=[model])
    assert not (tmp_path / "versions").exists()


def test_a_spec_elsewhere_says_its_paths_from_there_through_links_too(
    core: str, tmp_path: Path, fetch_context: FetchContext
) -> None:
    real = tmp_path / "deep" / "down" / "versions"
    real.mkdir(parents=True)
    (tmp_path / "link").symlink_to(real)
    output = tmp_path / "link" / "x.json"
    of_spec = replace(fetch_context, base_dir=output.parent)
    spec = create_spec(
        "x",
        repo=core,
        nodes=[],
        models=[],
        models_root=None,
        auto_checksum=False,
        output=output,
        working_dir=tmp_path,
        settle=lambda trees: [settle(tree, of_spec) for tree in trees],
        say=lambda _: None,
    )
    assert spec.comfy.repo == "../../../core"
    assert (real / spec.comfy.repo / "main.py").is_file()


def test_everything_that_is_wrong_in_the_arguments_is_reported_at_once(
    create: Create, core: str
) -> None:
    with pytest.raises(ComfyError, match="there are 3 faults:") as caught:
        create(
            core,
            nodes=["gone", '{"repo": "https://e.com/x", "Ref": "y"}'],
            models=['{"source": "gone.bin", "target_subdir": "vae"}'],
        )
    for part in ("there is no folder", "unknown key 'Ref'", "gone.bin does not exist"):
        assert part in caught.value.message
