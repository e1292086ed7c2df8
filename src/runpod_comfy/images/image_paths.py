"""Where things lie in an image, and where a build step finds what it is given.

Engine 20.10 leaves an empty folder with a time of its own behind for a mount on a folder that the
base does not have, so steps are given their things on folders that every Linux has.
"""

from __future__ import annotations

HOME = "/opt/comfy"
VENV = f"{HOME}/.venv"
HANDLER = "/opt/handler"
APP = "/app"
WORKFLOWS = f"{APP}/workflows"
USER_HOME = "/home/comfy"

STEP = "/mnt"
"""The scripts of a step; its inputs are in `inputs/`."""
TOOLS = "/media"
"""The installer, and a certificate bundle where one is given."""
PACKAGES = "/srv"
"""The installer's cache, which the engine keeps between builds."""

DEFAULT_USER = "1000:1000"
