"""`--models` as users write it: names, places and sources that are filled in or refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from comfy_errors import InvalidInputError
from comfy_models.verify import HashMemory
from runpod_comfy.spec.asked import LocalModels, read_models, with_checksums
from runpod_comfy.spec.document import Folders
from runpod_comfy.spec.model import Model


def read(
    working: Path,
    argument: object,
    *,
    root: Path | None = None,
    auto_checksum: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> list[Model]:
    """The models of an argument given in `working`, for a spec in the folder `versions` there."""
    text = argument if isinstance(argument, str) else json.dumps(argument)
    folders = Folders(working=working, spec=working / "versions")
    memory = HashMemory([working / "memory"])
    local = LocalModels(root=root, auto_checksum=auto_checksum, memory=memory, say=say)
    return with_checksums(read_models(text, folders, local), local)


def test_the_guides_object_gets_a_name_and_a_path(tmp_path: Path) -> None:
    source = "https://example.com/model.safetensors"
    (model,) = read(tmp_path, {"source": source, "target_subdir": "checkpoints"})
    assert model == Model(
        name="model.safetensors",
        source=source,
        target_subdir="checkpoints",
        target_path="checkpoints/model.safetensors",
    )


def test_a_file_at_the_top_of_the_models_folder_needs_no_subdir(tmp_path: Path) -> None:
    (model,) = read(tmp_path, {"source": "https://e.com/a.bin", "target_path": "b.bin"})
    assert (model.name, model.target_subdir, model.target_path) == ("b.bin", None, "b.bin")


def test_a_name_that_is_given_names_the_file(tmp_path: Path) -> None:
    asked = {"source": "https://e.com/download", "target_subdir": "vae", "name": "v.bin"}
    (model,) = read(tmp_path, asked)
    assert model.target_path == "vae/v.bin"


def test_a_query_is_not_part_of_the_name(tmp_path: Path) -> None:
    (model,) = read(tmp_path, {"source": "https://e.com/a.bin?v=2.0", "target_subdir": "vae"})
    assert model.name == "a.bin"
    assert model.source == "https://e.com/a.bin?v=2.0"


def test_a_quoted_path_in_a_source_cannot_leave_the_models_folder(tmp_path: Path) -> None:
    (model,) = read(
        tmp_path, {"source": "https://e.com/a%2F..%2F..%2Fb.bin", "target_subdir": "vae"}
    )
    assert model.target_path == "vae/b.bin"


@pytest.mark.parametrize("scheme", ["", "./", "file:"])
def test_a_local_source_is_rewritten_for_the_folder_of_the_spec(
    tmp_path: Path, scheme: str
) -> None:
    (tmp_path / "local.bin").write_bytes(b"x")
    (model,) = read(tmp_path, {"source": f"{scheme}local.bin", "target_subdir": "vae"})
    assert model.source == "../local.bin"


def test_a_local_name_that_reads_like_an_address_stays_a_path(tmp_path: Path) -> None:
    (tmp_path / "versions").mkdir()
    (tmp_path / "versions" / "a:b.bin").write_bytes(b"x")
    (model,) = read(tmp_path, {"source": "./versions/a:b.bin", "target_subdir": "vae"})
    assert model.source == "./a:b.bin"


def test_an_absolute_source_stays_absolute(tmp_path: Path) -> None:
    path = tmp_path / "local.bin"
    path.write_bytes(b"x")
    for source in (str(path), path.as_uri()):
        (model,) = read(tmp_path, {"source": source, "target_subdir": "vae"})
        assert model.source == source


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("hf://o/n/unet/", "unet"),
        ("hf://o/n@v1/", "n"),
        ("https://huggingface.co/o/n/tree/main/a/b", "b"),
        ("https://huggingface.co/o/n/blob/main/a%20b.bin?download=true", "a b.bin"),
        ("s3://bucket/folder/m.bin", "m.bin"),
        ("gs://bucket/50%25 #1?.bin", "50%25 #1?.bin"),
    ],
)
def test_the_name_comes_from_the_address(tmp_path: Path, source: str, name: str) -> None:
    (model,) = read(tmp_path, {"source": source, "target_subdir": "x"})
    assert (model.name, model.target_path, model.source) == (name, f"x/{name}", source)


@pytest.mark.parametrize(
    "source",
    ["civitai://1?file=2", "https://civitai.com/models/1/v1.5?modelVersionId=2", "https://h/x?a.b"],
)
def test_an_address_without_a_file_name_needs_one(tmp_path: Path, source: str) -> None:
    fault = "names the file 'x' without an ending" if "/x" in source else "has no file name"
    with pytest.raises(InvalidInputError, match=fault) as caught:
        read(tmp_path, {"source": source, "target_subdir": "loras"})
    assert "Add 'name'" in caught.value.remedy
    (model,) = read(tmp_path, {"source": source, "target_subdir": "loras", "name": "x.pt"})
    assert model.place == "loras/x.pt"


def test_a_file_without_an_ending_needs_a_name(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_bytes(b"x")
    asked = {"source": str(tmp_path / "LICENSE"), "target_subdir": "loras"}
    with pytest.raises(InvalidInputError) as caught:
        read(tmp_path, asked)
    assert caught.value.message.endswith("/LICENSE' names the file 'LICENSE' without an ending")
    assert "Add 'name'" in caught.value.remedy
    (model,) = read(tmp_path, {**asked, "name": "LICENSE"})
    assert model.place == "loras/LICENSE"


def test_a_folder_of_the_hub_has_no_checksum(tmp_path: Path) -> None:
    (tmp_path / "unet").write_bytes(b"x")
    asked = {"source": "hf://o/n/unet/", "target_subdir": "diffusers"}
    (model,) = read(tmp_path, asked, root=tmp_path, auto_checksum=True)
    assert model.checksum is None


def test_local_mirrors_are_rewritten_too(tmp_path: Path) -> None:
    asked = {"source": "https://e.com/a.bin", "target_subdir": "vae", "size": 3}
    (model,) = read(tmp_path, {**asked, "mirrors": ["a.bin", "hf://o/n/a.bin"]})
    assert model.mirrors == ["../a.bin", "hf://o/n/a.bin"]
    assert model.size == 3


def test_an_object_may_be_spread_over_lines_and_a_list_may_stand_in_the_argument(
    tmp_path: Path,
) -> None:
    asked = {"source": "https://e.com/a.bin", "target_subdir": "vae"}
    assert len(read(tmp_path, f"\n  {json.dumps(asked, indent=2)}\n")) == 1
    assert len(read(tmp_path, [asked, {**asked, "name": "b.bin"}])) == 2


def test_paths_in_a_json_file_are_from_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "local.bin").write_bytes(b"x")
    asked = [{"source": "local.bin", "target_subdir": "vae"}]
    (tmp_path / "lists" / "all.json").write_text(json.dumps(asked))
    (model,) = read(tmp_path, "lists/all.json")
    assert model.source == "../local.bin"


def test_a_complaint_about_a_list_in_a_file_names_file_and_entry(tmp_path: Path) -> None:
    good = {"source": "https://e.com/a.bin", "target_subdir": "vae"}
    (tmp_path / "all.json").write_text(json.dumps([good, {**good, "checksums": "x"}]))
    with pytest.raises(InvalidInputError) as caught:
        read(tmp_path, "all.json")
    assert f"{tmp_path / 'all.json'} [1]: unknown key 'checksums'" in caught.value.message
    assert "Did you mean 'checksum'?" in caught.value.remedy


def test_what_is_not_an_object_is_reported_in_words_of_json(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"\[0\] must be a JSON object, not text"):
        read(tmp_path, ["a"])


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("", "'source' must not be empty"),
        ("-x.bin", "'source' must not start with '-'"),
        ("~/x.bin", "'source' must be a path without '~'"),
        ("ftp://e.com/x.bin", "'source' has the unknown scheme 'ftp:'"),
        ("https://[e.com/x.bin", "'source' is not a valid URL"),
        ("https://user:secret@e.com/x.bin", "'source' must not contain a user name or password"),
        ("file://server/x.bin", "'source' must name a file of this machine"),
    ],
)
def test_a_source_that_is_unavailable_is_refused(
    tmp_path: Path, source: str, sentence: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read(tmp_path, {"source": source, "target_subdir": "vae"})
    assert caught.value.message.startswith("--models: ")
    assert sentence in caught.value.message
    assert "secret" not in caught.value.message


def test_a_complaint_about_the_whole_object_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read(tmp_path, {"source": "https://e.com/a.bin"})
    assert caught.value.message == "--models: it needs a 'target_path' or a 'target_subdir'"


def test_the_source_itself_is_hashed_before_a_namesake_in_the_models_root(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a.bin").write_bytes(b"namesake")
    (tmp_path / "a.bin").write_bytes(b"source")
    asked = {"source": "a.bin", "target_subdir": "vae"}
    (model,) = read(tmp_path, asked, root=tmp_path / "root", auto_checksum=True)
    assert model.checksum == "sha256:" + hashlib.sha256(b"source").hexdigest()


def test_a_file_that_is_only_in_the_models_root_is_the_source(tmp_path: Path) -> None:
    (tmp_path / "root/vae").mkdir(parents=True)
    (tmp_path / "root/vae/a.bin").write_bytes(b"a")
    asked = {"source": "a.bin", "target_subdir": "vae"}
    (model,) = read(tmp_path, asked, root=tmp_path / "root", auto_checksum=True)
    assert (tmp_path / "versions" / model.source).resolve() == tmp_path / "root/vae/a.bin"
    assert not Path(model.source).is_absolute()


def test_a_checksum_that_holds_is_kept(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"a")
    checksum = hashlib.sha256(b"a").hexdigest()
    asked = {"source": "a.bin", "target_subdir": "vae", "checksum": f" {checksum.upper()}"}
    (model,) = read(tmp_path, asked, auto_checksum=True)
    assert model.checksum == f"sha256:{checksum}"


@pytest.mark.parametrize("name", ["a.bin", "unet"])
def test_a_folder_is_not_a_model_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(InvalidInputError, match=f"{name} is a folder, not a model file"):
        read(tmp_path, {"source": name, "target_subdir": "vae"})


def test_a_file_that_was_hashed_and_not_changed_is_not_hashed_again(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"a")
    model = {"source": "a.gguf", "target_subdir": "vae"}
    said: list[str] = []
    before = read(tmp_path, model, auto_checksum=True, say=said.append)
    assert said == [f"Hashing {tmp_path}/a.gguf"]
    said.clear()
    assert read(tmp_path, model, auto_checksum=True, say=said.append) == before
    assert said == []
