"""Runs `runpod-comfy` from a script of the guide, with any Python 3, however old.

So no syntax here that an old Python cannot read. It only starts the shell, which finds a new
Python.
"""

import os
import sys


def arguments():
    # type: () -> list[str]
    """The script's own arguments."""
    return sys.argv[1:]


def open_door(*command):
    # type: (*str) -> None
    """Becomes `runpod-comfy COMMAND`, making the environment first if it is missing."""
    with_environment = os.path.join(
        os.path.dirname(os.path.abspath(__file__)), "with_environment.sh"
    )
    environment = dict(os.environ)
    if sys.version_info >= (3, 11):
        environment.setdefault("PYTHON", sys.executable)
    sys.stdout.flush()
    os.execve("/bin/sh", ["sh", with_environment, "runpod-comfy"] + list(command), environment)
