"""The run side: supervises ComfyUI, turns a workflow into a result, delivers its outputs.

The same program runs on a laptop and in an image. It never imports `runpod_comfy`.
"""

import time

BEGAN_S = time.monotonic()
"""When its code began to run, in seconds of the monotonic clock."""
