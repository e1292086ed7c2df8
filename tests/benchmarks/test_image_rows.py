"""The rows of the image benchmarks, from what was measured."""

from __future__ import annotations

from benchmarks.document import as_markdown
from benchmarks.engine_room import spare
from benchmarks.image_rows import unmeasured
from benchmarks.images import OURS, THEIRS, Built
from benchmarks.images_first import row as first_image_row
from benchmarks.images_rebuild import in_short, in_words, layer_rows, slowest_step
from benchmarks.images_size import cuda_runtime_bytes, size_row
from runpod_comfy.images.docker.build_progress import BuildStep
from runpod_comfy.lock.model import Distribution, DistributionFile

_MIB = 1_000_000


def _built(*layers: str, ran: tuple[str, ...] = ()) -> Built:
    steps = tuple(BuildStep(name=name, cached=False, seconds=1.5) for name in ran)
    return Built(seconds=4.0, steps=steps, layers=layers)


def test_without_an_engine_each_target_has_a_row_that_says_so() -> None:
    rows = unmeasured({5, 7, 14}, "no Docker engine")
    assert [row.target for row in rows] == [5, 7]
    text = as_markdown(rows, {}, [])
    assert text.count("| no Docker engine |") == 2
    assert text.count("| not measured |") == 2
    assert "Nothing was missed." in text


def test_two_new_layers_meet_the_target_and_only_they_are_counted_as_pushed() -> None:
    ours = [
        _built("base", "torch", "node", "check"),
        _built("base", "torch", "node-2", "check-2", ran=("[internal] load", "node:a", "check")),
    ]
    theirs = [_built("base", "all", "nodes"), _built("base", "all", "nodes-2")]
    sizes = {
        OURS: {"base": 50 * _MIB, "torch": 900 * _MIB, "node-2": _MIB, "check-2": _MIB},
        THEIRS: {"base": 50 * _MIB, "all": 900 * _MIB, "nodes-2": 300 * _MIB},
    }
    layers, pushed = layer_rows(ours, theirs, sizes)
    assert (layers.measured, layers.met) == ("2 (theirs 1)", True)
    assert layers.what.endswith("node:a, check")
    assert (pushed.measured, pushed.met) == ("2.0 MB (theirs 300.0 MB)", True)


def test_a_third_new_layer_misses_the_target() -> None:
    ours = [
        _built("base", "node", "other", "check"),
        _built("base", "node-2", "other-2", "check-2"),
    ]
    sizes = {OURS: dict.fromkeys(ours[1].layers, 1), THEIRS: {}}
    assert [row.met for row in layer_rows(ours, [_built(), _built()], sizes)] == [False, False]


def test_the_slowest_step_leaves_out_the_check_and_what_the_builder_does() -> None:
    built = _built(ran=("[internal] load", "node:a", "check"))
    assert slowest_step([built]).met is False
    steps = tuple(
        BuildStep(name=name, cached=name == "torch", seconds=seconds)
        for name, seconds in (("torch", 9.0), ("node:a", 0.4), ("node:b", 0.3), ("check", 7.0))
    )
    row = slowest_step([Built(seconds=9.0, steps=steps, layers=())])
    assert (row.measured, row.met) == ("0.40 s", True)


def test_the_longest_steps_of_a_build_are_reported() -> None:
    steps = [BuildStep(name=f"step-{number}", cached=False, seconds=number) for number in range(9)]
    told = in_short(Built(seconds=40.0, steps=tuple(steps), layers=()))
    assert told.startswith("5: 40.0 s, of which: step-8 8.0 s, step-7 7.0 s")
    assert "step-3" not in told


def test_only_what_the_runtime_image_has_counts_as_cuda() -> None:
    group = [
        _wheel("nvidia-cudnn-cu13", 300, 200),
        _wheel("nvidia-cublas", 400),
        _wheel("nvidia-cusparselt-cu13", 170),
        _wheel("torch", 530),
    ]
    assert cuda_runtime_bytes(group) == 700


def test_a_size_is_a_ratio_to_both_parts_of_the_other_image() -> None:
    row = size_row(3_000 * _MIB, 3_000 * _MIB, 2_000 * _MIB)
    assert (row.measured, row.met) == ("0.60×", True)
    assert "3.00 GB, against 3.00 GB + 2.00 GB" in row.what
    assert size_row(9, 5, 5).met is False


def test_a_first_image_is_measured_in_what_the_engine_ran() -> None:
    steps = [
        BuildStep(name="[internal] load remote build context", cached=False, seconds=9),
        BuildStep(name="system", cached=True, seconds=5),
        BuildStep(name="torch", cached=False, seconds=60),
        BuildStep(name="exporting to image", cached=False, seconds=40),
    ]
    row = first_image_row(110, steps, 6)
    assert (row.measured, row.met) == ("1.10×", True)
    assert first_image_row(120, steps, 6).met is False


def test_a_size_is_reported_in_the_unit_that_fits() -> None:
    assert [in_words(1_500), in_words(2_340_000_000)] == ["0.0 MB", "2.34 GB"]


def test_only_unused_files_that_came_meanwhile_are_spare() -> None:
    unused = {"InUse": False, "Shared": False, "Type": "regular"}
    before = {"old": unused}
    now = {
        "old": unused,
        "new": unused,
        "packages": {**unused, "Type": "exec.cachemount"},
        "building": {**unused, "InUse": True},
        "of an image": {**unused, "Shared": True},
    }
    assert spare(before, now) == ["new", "packages"]
    assert spare(before, now, keep_packages=True) == ["new"]


def _wheel(name: str, *sizes: int) -> Distribution:
    files = [
        DistributionFile(name=f"{name}-{size}.whl", sha256=f"{size:064x}", size=size)
        for size in sizes
    ]
    return Distribution(name=name, version="1", files=files)
