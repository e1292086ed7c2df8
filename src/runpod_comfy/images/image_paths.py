"""Paths in an image, and the paths of a build step's inputs.

For a mount on a folder that the base does not have, Engine 20.10 leaves an empty folder with the
current time behind, so steps only mount on folders that every Linux has.
"""

from __future__ import annotations

HOME = "/opt/comfy"
VENV = f"{HOME}/.venv"
MODELS_LINK = "/tmp/runpod-comfy/models"
"""What `ComfyUI/models` leads to (see images/layers/models.sh): a link that the handler changes."""
HANDLER = "/opt/handler"
APP = "/app"
WORKFLOWS = f"{APP}/workflows"
USER_HOME = "/home/comfy"

STEP = "/mnt"
"""The scripts of a step; its inputs are in `inputs/`."""
TOOLS = "/media"
"""The installer, and the certificate bundle if there is one."""
PACKAGES = "/srv"
"""The installer's cache, which the engine keeps between builds."""

DEFAULT_USER = "1000:1000"
