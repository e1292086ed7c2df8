from __future__ import annotations

from pathlib import PurePath

import pytest

from rp_handler.outputs.names import object_name, run_name


def test_a_job_that_is_run_again_gives_its_files_the_same_names() -> None:
    place = PurePath("sub/x 1.png")
    names = {object_name("comfy/outputs", "demo", "0b9c-u1", place) for _ in range(2)}
    assert names == {"comfy/outputs/demo/0b9c-u1/sub/x 1.png"}
    assert object_name("", None, "0b9c-u1", place) == "0b9c-u1/sub/x 1.png"


@pytest.mark.parametrize(
    ("job", "folder"), [("../a/b", "_a_b"), ("..", "_"), ("a b\n", "a_b_"), ("", "_")]
)
def test_an_id_does_not_lead_elsewhere(job: str, folder: str) -> None:
    assert object_name("p", "v", job, PurePath("x")) == f"p/v/{folder}/x"
    assert len(object_name("p", "v", "j" * 5000, PurePath("x"))) < 1000


def test_runs_never_share_a_name() -> None:
    assert len({run_name("w") for _ in range(50)}) == 50
