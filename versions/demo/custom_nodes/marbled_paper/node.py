"""The node: what ComfyUI shows and checks, around `marble`, which draws."""

from __future__ import annotations

from typing import Any

from .marble import Marble, paint
from .palettes import PALETTES


class MarbledPaper:
    """Draws one sheet of marbled paper."""

    CATEGORY = "image/patterns"
    DESCRIPTION = "Draws marbled paper: the same inputs give the same picture on every machine."
    RETURN_TYPES = ("IMAGE",)
    OUTPUT_TOOLTIPS = ("One picture of the width and height asked for.",)
    FUNCTION = "draw"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - ComfyUI's name
        """ComfyUI checks these types, ranges and choices before anything runs."""
        return {
            "required": {
                "width": _size("Width of the picture in pixels."),
                "height": _size("Height of the picture in pixels."),
                "seed": (
                    "INT",
                    {
                        "default": 22,
                        "min": 0,
                        "max": 2**64 - 1,
                        "control_after_generate": True,
                        "tooltip": "Another seed, another sheet.",
                    },
                ),
                "palette": (list(PALETTES), {"tooltip": "The inks."}),
                "scale": _amount(
                    1.4, 0.25, 8, "How much of the pattern is seen: more shows more, but smaller."
                ),
                "swirl": _amount(
                    2.0, 0, 6, "How far the currents carry the inks: 0 leaves soft clouds."
                ),
                "detail": (
                    "INT",
                    {
                        "default": 2,
                        "min": 1,
                        "max": 6,
                        "tooltip": "Octaves of noise: 1 is silky, 6 is crumpled.",
                    },
                ),
                "bands": _amount(12.0, 0, 48, "How many fine layers of ink lie beside each other."),
                "gold": _amount(
                    2.5, 0, 10, "Width of the gold lines, in thousandths of the shorter side."
                ),
                "relief": _amount(
                    0.6, 0, 2, "How deeply light from the upper left models the folds."
                ),
            }
        }

    def draw(
        self,
        width: int,
        height: int,
        seed: int,
        palette: str,
        scale: float,
        swirl: float,
        detail: int,
        bands: float,
        gold: float,
        relief: float,
    ) -> tuple[Any]:
        """One IMAGE, a tensor: float32 [1, height, width, 3], 0 to 1."""
        # ComfyUI brings torch; without it the drawing can still be imported and tested.
        import torch  # type: ignore[import-not-found]

        picture = paint(
            Marble(
                width=width,
                height=height,
                seed=seed,
                palette=palette,
                scale=scale,
                swirl=swirl,
                detail=detail,
                bands=bands,
                gold=gold,
                relief=relief,
            )
        )
        return (torch.from_numpy(picture)[None],)


def _size(tooltip: str) -> tuple[str, dict[str, Any]]:
    return (
        "INT",
        {"default": 512, "min": 64, "max": 4096, "step": 8, "tooltip": tooltip},
    )


def _amount(
    default: float, smallest: float, largest: float, tooltip: str
) -> tuple[str, dict[str, Any]]:
    return (
        "FLOAT",
        {
            "default": default,
            "min": smallest,
            "max": largest,
            "step": 0.1,
            "round": 0.01,
            "tooltip": tooltip,
        },
    )
