"""The way from a script of the guide to `runpod-comfy`, for any Python 3, however old.

So: no syntax here that an old Python cannot read. It gets as far as the shell, which finds a
new one.
"""

import os
import sys


def arguments():
    # type: () -> list[str]
    """The script's own arguments."""
    return sys.argv[1:]


def open_door(*command):
    # type: (*str) -> None
    """Become `runpod-comfy COMMAND`, making the environment first where it is missing."""
    with_environment = os.path.join(
        os.path.dirname(os.path.abspath(__file__)), "with_environment.sh"
    )
    environment = dict(os.environ)
    if sys.version_info >= (3, 11):
        environment.setdefault("PYTHON", sys.executable)
    sys.stdout.flush()
    os.execve("/bin/sh", ["sh", with_environment, "runpod-comfy"] + list(command), environment)
