from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

Picture = NDArray[np.float32]
Paint = Callable[..., Picture]


@pytest.fixture
def paint(marbled_paper: ModuleType) -> Paint:
    """Paints a small sheet with the given parameters changed."""
    marble: Any = marbled_paper.node.Marble

    def paint(**changes: Any) -> Picture:
        parameters = {
            "width": 96,
            "height": 72,
            "seed": 35,
            "palette": "peacock",
            "scale": 1.4,
            "swirl": 2.0,
            "detail": 2,
            "bands": 12.0,
            "gold": 8.0,
            "relief": 0.6,
        }
        picture: Picture = marbled_paper.node.paint(marble(**parameters | changes))
        return picture

    return paint


def test_picture_has_the_size_type_and_range_of_a_comfyui_image(paint: Paint) -> None:
    picture = paint()
    assert picture.shape == (72, 96, 3)
    assert picture.dtype == np.float32
    assert picture.min() >= 0
    assert picture.max() <= 1


def test_picture_is_in_steps_of_a_256th(paint: Paint) -> None:
    levels = paint() * 256
    assert np.array_equal(levels, np.round(levels))


def test_picture_has_real_content(paint: Paint) -> None:
    picture = paint()
    assert picture.std() > 0.15
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 3000


def test_same_parameters_give_these_very_bytes_on_every_machine(paint: Paint) -> None:
    drawn = hashlib.sha256(paint().tobytes()).hexdigest()
    assert drawn == "3e19e9857e2ba7962a23efa3351c1698dedc2c35002dd1429f76bd1cc81960da"


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 36},
        {"seed": 2**64 - 1},
        {"palette": "lagoon"},
        {"scale": 1.5},
        {"swirl": 2.1},
        {"detail": 3},
        {"bands": 13.0},
        {"gold": 0.0},
        {"relief": 0.7},
    ],
    ids=str,
)
def test_each_parameter_changes_the_picture(paint: Paint, change: dict[str, Any]) -> None:
    changed = np.abs(paint(**change) - paint()).max(axis=2) > 0
    assert changed.mean() > 0.01


def test_strips_leave_no_seams(
    paint: Paint, marbled_paper: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_strips = paint(height=200)
    monkeypatch.setattr("marbled_paper.marble._STRIP_ROWS", 200)
    assert np.array_equal(in_strips, paint(height=200))


@pytest.mark.parametrize("extreme", ["min", "max"])
def test_extreme_shapes_stay_within_range(
    paint: Paint, marbled_paper: ModuleType, extreme: str
) -> None:
    inputs = marbled_paper.node.MarbledPaper.INPUT_TYPES()["required"]
    shape = {
        name: inputs[name][1][extreme]
        for name in ("seed", "scale", "swirl", "detail", "bands", "gold", "relief")
    }
    picture = paint(**shape)
    assert np.isfinite(picture).all()
    assert picture.min() >= 0
    assert picture.max() <= 1


def test_every_palette_draws_something_else(paint: Paint, marbled_paper: ModuleType) -> None:
    palettes = list(marbled_paper.palettes.PALETTES)
    assert len({paint(palette=palette).tobytes() for palette in palettes}) == len(palettes) >= 5


def test_node_describes_each_parameter_of_draw(marbled_paper: ModuleType) -> None:
    node = marbled_paper.NODE_CLASS_MAPPINGS["MarbledPaper"]
    inputs = node.INPUT_TYPES()["required"]
    assert list(inputs) == list(node.draw.__annotations__)[:-1]
    assert all(options["tooltip"].endswith(".") for _, options in inputs.values())
    assert marbled_paper.NODE_DISPLAY_NAME_MAPPINGS.keys() == {"MarbledPaper"}


def test_drawing_needs_nothing_but_numpy(versions: Path) -> None:
    folder = versions / "demo/custom_nodes/marbled_paper"
    modules = {
        name
        for file in folder.glob("*.py")
        for statement in ast.walk(ast.parse(file.read_text()))
        for name in _absolute_imports(statement)
    }
    assert modules == {"__future__", "dataclasses", "typing", "numpy", "torch"}
    assert (folder / "requirements.txt").read_text().split() == ["numpy"]


def _absolute_imports(statement: ast.AST) -> list[str]:
    if isinstance(statement, ast.Import):
        return [alias.name.split(".")[0] for alias in statement.names]
    if isinstance(statement, ast.ImportFrom) and statement.level == 0 and statement.module:
        return [statement.module.split(".")[0]]
    return []


def test_arithmetic_is_only_what_every_machine_does_alike(versions: Path) -> None:
    for file in (versions / "demo/custom_nodes/marbled_paper").glob("*.py"):
        called = set(re.findall(r"np\.(\w+)\(", file.read_text()))
        assert not called & {"sin", "cos", "tan", "exp", "log", "power", "arctan2", "hypot", "dot"}
