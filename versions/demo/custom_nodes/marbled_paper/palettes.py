"""The inks: named rows of colours, and the smooth ramp through each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PALETTES: dict[str, str] = {
    "peacock": "08081f 10245a 0a5f8a 12a08f 7ed07a f7f0b8 d19ad9 5a2c91",
    "lagoon": "03111f 072c49 0b5a75 1fa09a 8fd9bd f4efd2 f0b982 c8603f",
    "ember": "0c0509 360a1c 7f1629 c93a2a f08a3c fbdc97 eef0e6 6d93a6",
    "rose": "170a1d 4a143d 97284f dd5f6b f7b49b fff3e2 9fc9c2 2f5f70",
    "ink": "06080c 141b26 33404f 6f8090 bcc7cc f7f4ec dcb98a 7a4f33",
}
"""Each from its deepest colour to its lightest and on to an accent, in sRGB."""


def ramp(palette: str, steps: int) -> NDArray[np.float32]:
    """`steps` colours along a palette of PALETTES: float32 [steps, 3], linear light, 0 to 1.

    A square stands for the sRGB curve: close to it, and the same on every machine.
    """
    stops = np.array(
        [list(bytes.fromhex(colour)) for colour in PALETTES[palette].split()], dtype=np.float32
    )
    stops /= 255
    stops *= stops
    place = np.linspace(0, len(stops) - 1, steps, dtype=np.float32)
    before = np.minimum(place.astype(np.int32), len(stops) - 2)
    t = (place - before.astype(np.float32))[:, None]
    share = t * t * (3 - 2 * t)
    colours: NDArray[np.float32] = stops[before] + share * (stops[before + 1] - stops[before])
    return colours
