from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from comfy_workflows.load import parse_workflow
from rp_handler.engine.command import EngineFolders
from rp_handler.errors import JobError
from rp_handler.job.outputs import Outputs, collect_outputs

GRAPH = parse_workflow(
    {name: {"class_type": "X", "inputs": {}} for name in ("3", "1")}, place="graph"
)


@pytest.fixture
def folders(tmp_path: Path) -> EngineFolders:
    made = EngineFolders(
        input=tmp_path / "input",
        output=tmp_path / "output",
        user=tmp_path / "user",
        temp=tmp_path / "temp",
    )
    for folder in (made.input, made.output, made.temp, made.output / "sub"):
        folder.mkdir(parents=True)
    (made.output / "a.png").write_bytes(b"picture")
    (made.output / "sub" / "b.mp4").write_bytes(b"film")
    (made.temp / "c.webp").write_bytes(b"preview")
    (tmp_path / "secret.txt").write_text("secret", encoding="utf-8")
    return made


def collect(folders: EngineFolders, history: dict[str, Any]) -> Outputs:
    return collect_outputs(history, GRAPH, folders)


def entry(filename: str, subfolder: str = "", kind: str = "output") -> dict[str, str]:
    return {"filename": filename, "subfolder": subfolder, "type": kind}


def test_files_are_collected_under_any_key_with_their_hash_and_type(
    folders: EngineFolders,
) -> None:
    outputs = collect(
        folders,
        {
            "1": {"images": [entry("a.png")], "animated": [False]},
            "3": {"gifs": [entry("b.mp4", "sub"), entry("c.webp", kind="temp")]},
        },
    )
    assert [(one.node, one.filename, one.subfolder, one.mime) for one in outputs.files] == [
        ("3", "b.mp4", "sub", "video/mp4"),
        ("3", "c.webp", "", "image/webp"),
        ("1", "a.png", "", "image/png"),
    ]
    assert [one.is_image for one in outputs.files] == [False, True, True]
    picture = outputs.files[2]
    assert picture.sha256 == hashlib.sha256(b"picture").hexdigest()
    assert picture.size_bytes == len(b"picture")
    assert outputs.warnings == ()


def test_texts_are_collected_and_other_values_are_not(folders: EngineFolders) -> None:
    outputs = collect(
        folders, {"1": {"text": ["one", "two"], "result": ["x.glb", None], "number": [3]}}
    )
    assert [(one.node, one.text) for one in outputs.texts] == [("1", "one"), ("1", "two")]
    assert outputs.files == ()


def test_a_file_that_is_not_there_is_a_warning(folders: EngineFolders) -> None:
    outputs = collect(folders, {"1": {"images": [entry("gone.png", "sub")]}})
    assert outputs.files == ()
    assert outputs.warnings == ("Node 1 names a file that is not there: sub/gone.png.",)


@pytest.mark.parametrize(
    ("filename", "subfolder"),
    [
        ("../secret.txt", ""),
        ("secret.txt", ".."),
        ("secret.txt", "sub/../.."),
        ("x.txt", "../output"),
        ("/etc/hostname", ""),
        ("hostname", "/etc"),
        ("link.txt", ""),
    ],
)
def test_nothing_outside_the_engines_folders_is_delivered(
    folders: EngineFolders, filename: str, subfolder: str
) -> None:
    (folders.output / "link.txt").symlink_to(folders.output.parent / "secret.txt")
    with pytest.raises(JobError, match="Node 1 names an output outside the engine's folders"):
        collect(folders, {"1": {"images": [entry(filename, subfolder)]}})


def test_an_unknown_suffix_is_plain_bytes(folders: EngineFolders) -> None:
    (folders.output / "d.zzz").touch()
    (output,) = collect(folders, {"1": {"files": [entry("d.zzz")]}}).files
    assert output.mime == "application/octet-stream"
    assert not output.is_image
