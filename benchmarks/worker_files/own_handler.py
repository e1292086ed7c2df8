"""Serves RunPod's jobs with worker-comfyui's own handler, on an engine at another port.

Arguments: the folder of its repository, the engine's address, and those of RunPod's SDK.
"""

import sys
from pathlib import Path

repository, engine = sys.argv[1:3]
del sys.argv[1:3]
# Its image has both beside each other.
sys.path[:0] = [repository, str(Path(repository, "src"))]

import handler  # noqa: E402
import runpod  # noqa: E402

handler.COMFY_HOST = engine
runpod.serverless.start({"handler": handler.handler})
