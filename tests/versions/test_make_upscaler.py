from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load, load_file

Field = NDArray[np.floating]


@pytest.fixture(scope="session")
def model(versions: Path) -> Path:
    return versions / "demo/models/bicubic-2x-compact.safetensors"


def test_script_makes_the_committed_file(versions: Path, model: Path, tmp_path: Path) -> None:
    made = tmp_path / "made.safetensors"
    script = versions / "demo/make_upscaler.py"
    subprocess.run([sys.executable, str(script), str(made)], check=True)
    assert made.read_bytes() == model.read_bytes()


def test_model_is_a_few_dozen_kilobytes_with_the_names_that_spandrel_knows(model: Path) -> None:
    shapes = {name: tensor.shape for name, tensor in load_file(model).items()}
    assert shapes == {
        "body.0.weight": (24, 3, 3, 3),
        "body.0.bias": (24,),
        "body.1.weight": (24,),
        "body.2.weight": (24, 24, 3, 3),
        "body.2.bias": (24,),
        "body.3.weight": (24,),
        "body.4.weight": (12, 24, 3, 3),
        "body.4.bias": (12,),
    }
    assert 20_000 < model.stat().st_size < 50_000


def test_model_doubles_a_picture_as_pillow_does(make_upscaler: ModuleType) -> None:
    picture = _picture()
    doubled = _upscale(load(make_upscaler.make()), picture)
    expected = _pillow_bicubic(picture)
    inside = slice(4, -4)
    assert _psnr(doubled[inside, inside], expected[inside, inside]) > 70
    assert _psnr(picture.repeat(2, axis=0).repeat(2, axis=1), expected) < 40


def test_model_keeps_a_flat_picture_flat_up_to_its_border(make_upscaler: ModuleType) -> None:
    picture = np.full((7, 9, 3), [0.25, 0.5, 1.0], np.float32)
    doubled = _upscale(load(make_upscaler.make()), picture)
    assert np.array_equal(doubled, np.full((14, 18, 3), [0.25, 0.5, 1.0], np.float32))


def test_sums_are_exact_so_that_their_order_does_not_matter(make_upscaler: ModuleType) -> None:
    weights = load(make_upscaler.make())
    precise = {name: tensor.astype(np.float64) for name, tensor in weights.items()}
    picture = _picture()
    assert np.array_equal(_upscale(weights, picture), _upscale(precise, picture.astype(np.float64)))


def _picture() -> Field:
    """Smooth and sharp structure, in steps of 1/256: [48, 64, 3]."""
    row, column = np.mgrid[0:48, 0:64].astype(np.float32)
    rings = np.floor(((row - 20) ** 2 + (column - 30) ** 2) / 90) % 2
    waves = (np.sin(row / 5) * np.cos(column / 7) + 1) / 2
    picture = np.stack([rings * 0.6 + 0.2, waves * 0.6 + 0.2, (rings + waves) * 0.3 + 0.2], axis=2)
    return (np.round(picture * 256) / 256).astype(np.float32)


def _upscale(weights: Mapping[str, Field], picture: Field) -> Field:
    """SRVGGNetCompact's forward pass, from its paper's code: [2h, 2w, 3] of [h, w, 3]."""
    signal = picture.transpose(2, 0, 1)
    for layer in (0, 2, 4):
        signal = _convolve(signal, weights[f"body.{layer}.weight"], weights[f"body.{layer}.bias"])
        if layer < 4:
            slope = weights[f"body.{layer + 1}.weight"][:, None, None]
            signal = np.where(signal >= 0, signal, slope * signal)
    _, height, width = signal.shape
    shuffled = signal.reshape(3, 2, 2, height, width).transpose(3, 1, 4, 2, 0)
    residual: Field = shuffled.reshape(2 * height, 2 * width, 3)
    return residual + picture.repeat(2, axis=0).repeat(2, axis=1)


def _convolve(signal: Field, weight: Field, bias: Field) -> Field:
    _, height, width = signal.shape
    padded = np.pad(signal, ((0, 0), (1, 1), (1, 1)))
    total = np.broadcast_to(bias[:, None, None], (len(bias), height, width)).copy()
    for row in range(3):
        for column in range(3):
            part = padded[:, row : row + height, column : column + width]
            total += np.einsum("oi,ihw->ohw", weight[:, :, row, column], part)
    return total


def _pillow_bicubic(picture: Field) -> Field:
    height, width, colours = picture.shape
    planes = [
        np.asarray(
            Image.fromarray(picture[..., colour]).resize(
                (2 * width, 2 * height), Image.Resampling.BICUBIC
            )
        )
        for colour in range(colours)
    ]
    return np.stack(planes, axis=2)


def _psnr(picture: Field, expected: Field) -> float:
    return float(-10 * np.log10(np.mean((picture - expected) ** 2)))
