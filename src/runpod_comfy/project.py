"""Where this project lies, with the layer scripts and bases that are files of it."""

from __future__ import annotations

from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
LAYER_SCRIPTS = CHECKOUT / "images" / "layers"
