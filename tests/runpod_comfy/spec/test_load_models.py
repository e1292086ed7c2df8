"""The models of a spec: which are read, and the one sentence for each that is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from runpod_comfy.spec.load import load_spec
from tests.runpod_comfy.spec.spec_files import changed, complaint_of, save


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"target_path": "../x"}, "'models[0].target_path' must be a path without '..'"),
        ({"target_path": "a/../../x"}, "'models[0].target_path' must be a path without '..'"),
        ({"target_path": "/x"}, "must be a relative path, not an absolute one"),
        ({"target_path": "C:/x"}, "must be a relative path, not an absolute one"),
        ({"target_path": "a\\b"}, "with forward slashes"),
        ({"target_path": "vae/"}, "must not end in a slash"),
        ({"target_path": "vae/" + "x" * 256}, "longer than 255 bytes"),
        ({"target_path": "loras/m"}, "that is not below its 'target_subdir' (vae)"),
        ({"target_path": "vae"}, "that is not below its 'target_subdir'"),
        ({"target_path": None, "target_subdir": None}, "needs a 'target_path' or a"),
        (
            {"target_path": "node_models/a/m", "target_subdir": None},
            "for models with a 'target_node'",
        ),
        ({"target_node": "Frist"}, "'models[0].target_node' names 'Frist', but the spec has no"),
        ({"target_node": "../x"}, "'models[0].target_node' must"),
        ({"source": "ftp://x/y"}, "unknown scheme 'ftp:'"),
        ({"source": "x" * 256}, "must not contain a name that is longer than 255 bytes"),
        ({"target_path": "vae/" + "x/" * 600 + "y"}, "must not be longer than 1000 bytes"),
        (
            {"name": "x" * 200, "target_path": None, "target_subdir": "/".join(["y" * 99] * 9)},
            "must not be longer than 1000 bytes",
        ),
        ({"target_path": ".comfy_verified", "target_subdir": None}, "that starts with '.comfy'"),
        ({"target_path": ".Comfy/x", "target_subdir": None}, "that starts with '.comfy'"),
        ({"source": "https://h/x.bin#part"}, "must not have a '#' part"),
        ({"source": "https://h/x.bin#access_token=abc"}, "must not contain a token or signature"),
        ({"source": "hf://hf_abc@org/repo/x"}, "must not contain a user name or token"),
        ({"source": "civitai://abc@1"}, "must not contain a user name or token"),
        ({"source": "file:///" + "x/" * 600}, "must not be longer than 1000 bytes"),
        ({"source": "hf:org/x/y.bin"}, "must have two slashes after its scheme: 'hf://"),
        ({"source": "hf://org/x"}, "write a file as 'hf://ORGANISATION/NAME/FILE', a folder as"),
        ({"source": "hf://org/x/../y.bin"}, "must have a path without '..'"),
        ({"source": "https://huggingface.co/org/x"}, "is not the page of a file on the Hub"),
        ({"source": "gs://bucket/"}, "must name a file in a bucket: 'gs://BUCKET/FILE'"),
        ({"source": "s3://bucket"}, "must name a file in a bucket: 's3://BUCKET/FILE'"),
        ({"source": "s3://bucket/folder/"}, "must name a file in a bucket"),
        ({"source": "s3://bu:cket/x"}, "must name a file in a bucket"),
        ({"source": "gs://bucket/x#123"}, "must not name a generation after '#'"),
        ({"source": "civitai://"}, "must have a number as the version's id"),
        ({"source": "civitai:1"}, "must have two slashes after its scheme: 'civitai://"),
        ({"source": "https://civitai.com/models/1"}, "does not say which version"),
        ({"source": "urn:isbn:1"}, "is not an AIR name"),
        ({"source": "https:///x.bin"}, "must name a host and a file"),
        ({"source": "https://h/"}, "must name a host and a file"),
        ({"source": "https://h:99999/x.bin"}, "must name a host and a file"),
        ({"source": "https://h:0/x.bin"}, "must name a host and a file"),
        ({"source": "https://a b/x.bin"}, "must name a host and a file"),
        ({"source": "https://h/x.bin?token=abc"}, "a token or signature; put logins in ~/.netrc"),
        (
            {"source": "https://civitai.com/api/download/models/1?token=abc"},
            "must not contain a token or signature; set the variable CIVITAI_TOKEN",
        ),
        (
            {"source": "https://huggingface.co/o/n/resolve/main/x?token=abc"},
            "must not contain a token or signature; set the variable HF_TOKEN",
        ),
        (
            {"source": "https://b.s3.amazonaws.com/x?X-Amz-Signature=abc"},
            "must not contain a token or signature; write 's3://BUCKET/KEY'",
        ),
        (
            {"source": "https://storage.googleapis.com/b/x?X-Goog-Signature=abc"},
            "must not contain a token or signature; write 'gs://BUCKET/FILE'",
        ),
        ({"source": "https://token@example.com/m"}, "must not contain a user name or password"),
        ({"source": "file://server/m"}, "must name a file of this machine"),
        ({"mirrors": ["gopher:x"]}, "'models[0].mirrors[0]' has the unknown scheme"),
        ({"checksum": "sha256:" + "A" * 64}, "64 lower-case hex digits"),
        ({"size": -1}, "'models[0].size' must be at least 0"),
        ({"name": "a/b"}, "'models[0].name' must be a name without slashes"),
        ({"name": "x" * 256}, "'models[0].name' must not be longer than 255 bytes"),
    ],
)
def test_a_model_that_cannot_be_placed_or_had_is_refused(
    tmp_path: Path, fields: dict[str, object], sentence: str
) -> None:
    error = complaint_of(tmp_path, changed(lambda s: s["models"][0].update(fields)))
    assert sentence in error.message
    assert "abc" not in error.message


@pytest.mark.parametrize(
    "source",
    [
        "http://example.com/m.bin",
        "file:///models/m.bin",
        "../models/m.bin",
        "gs://bucket/m.bin",
        "hf://owner/name/m.bin",
        "huggingface://owner/name/m.bin",
        "civitai://12345",
        "civitai://12345?file=6",
        "https://huggingface.co/owner/name/blob/main/m.bin",
        "https://civitai.com/models/1/name?modelVersionId=2",
        "urn:air:sdxl:lora:civitai:1@2",
        "s3://bucket/folder/m.bin",
    ],
)
def test_every_kind_of_source_is_accepted(tmp_path: Path, source: str) -> None:
    loaded = load_spec(save(tmp_path, changed(lambda s: s["models"][0].update(source=source))))
    assert loaded.spec.models[0].source == source


_FOLDER = {"name": "f", "source": "hf://o/n/unet/", "target_subdir": "diffusers"}


def test_a_folder_of_the_hub_has_a_place(tmp_path: Path) -> None:
    fields = [
        {},
        {"source": "hf://o/n@v1/", "target_path": "diffusers/whole"},
        {"source": "https://huggingface.co/o/n/tree/main/unet", "target_node": "first"},
        {"name": "inside.bin", "source": "x.bin", "target_path": "diffusers/f/inside.bin"},
    ]
    models = [{**_FOLDER, **each} for each in fields]
    loaded = load_spec(save(tmp_path, changed(lambda s: s.update(models=models))))
    assert [(model.place, model.is_folder) for model in loaded.spec.models] == [
        ("diffusers/f", True),
        ("diffusers/whole", True),
        ("node_models/first/diffusers/f", True),
        ("diffusers/f/inside.bin", False),
    ]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"checksum": "sha256:" + "3" * 64}, "has 'checksum', which only a file can have"),
        ({"size": 0}, "has 'size', which only a file can have; its 'source' is a folder"),
        ({"mirrors": ["hf://o/n2/x.bin"]}, "has 'mirrors', which only a file can have"),
        (
            {"source": "x.bin", "mirrors": ["hf://o/n/unet/"]},
            "has a folder among its 'mirrors', which name single files",
        ),
    ],
)
def test_what_only_a_file_can_have_is_refused_of_a_folder(
    tmp_path: Path, fields: dict[str, object], sentence: str
) -> None:
    spec = changed(lambda s: s.update(models=[{**_FOLDER, **fields}]))
    assert f"'models[0]' {sentence}" in complaint_of(tmp_path, spec).message


def test_two_models_may_not_have_one_place(tmp_path: Path) -> None:
    other = {"name": "o", "source": "o", "target_path": "VAE/M.bin"}
    error = complaint_of(tmp_path, changed(lambda s: s["models"].append(other)))
    assert "models[0] and models[1] both go to" in error.message


def test_a_model_may_lie_in_a_nodes_folder(tmp_path: Path) -> None:
    fields = [
        {"target_node": "first", "target_path": "ckpts/m.bin"},
        {"target_node": "first"},
        {"target_path": "ckpts/m.bin"},
    ]
    models = [{"name": "o", "source": "o", **each} for each in fields]
    loaded = load_spec(save(tmp_path, changed(lambda s: s.update(models=models))))
    assert [model.place for model in loaded.spec.models] == [
        "node_models/first/ckpts/m.bin",
        "node_models/first/o",
        "ckpts/m.bin",
    ]


def test_no_model_may_lie_below_another(tmp_path: Path) -> None:
    other = {"name": "o", "source": "o", "target_path": "vae/m.bin/o"}
    error = complaint_of(tmp_path, changed(lambda s: s["models"].append(other)))
    assert "below models[0]" in error.message
