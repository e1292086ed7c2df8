"""What tests resolve from a real index, held at versions that are known to work together.

An index moves every week; a test that took the newest of it would fail for what others publish.
"""

from __future__ import annotations

import json
from pathlib import Path

_DEMO = Path(__file__).parents[1] / "lockfiles" / "comfy-demo.lock.json"
# ComfyUI 0.3.52 needs these, the demo's does not.
_BEYOND_THE_DEMO = ("cffi==2.1.1", "pycparser==3.12", "soundfile==0.14.0")
# Every core pins these itself.
PINNED_BY_CORES = "comfyui-"


def held() -> list[str]:
    """Constraints `name==version`, as `options.constraints` of a spec takes them."""
    python = json.loads(_DEMO.read_text())["python"]
    demo = [
        f"{item['name']}=={item['version']}"
        for item in (*python["torch"], *python["wheels"])
        if not item["name"].startswith(PINNED_BY_CORES)
    ]
    return sorted({*demo, *_BEYOND_THE_DEMO})
