"""The run side: supervises ComfyUI, turns a workflow into a result, delivers its outputs.

The same program runs on a laptop and in an image. It never imports `runpod_comfy`.
"""

import time

__version__ = "0.1.0"
"""That of `runpod_comfy`, which it cannot import."""

BEGAN_S = time.monotonic()
"""When its code began to run, in seconds of the monotonic clock."""
