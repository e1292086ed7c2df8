"""Serves the version's own web page, with the home's real folders."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Mapping
from typing import NoReturn

from rp_handler.engine.command import LOOPBACK
from rp_handler.engine.process import Engine, is_taken
from rp_handler.engine.prompt import Listener
from rp_handler.engine.supervisor import warn_of_nodes
from rp_handler.home.engine_setup import engine_setup
from rp_handler.home.model_search import ModelSearch
from rp_handler.home.models import models_at_hand
from rp_handler.home.realized import Home

# ComfyUI's default port, where users expect it.
_USUAL_PORT = 8188


async def serve_ui(
    home: Home,
    listener: Listener,
    *,
    port: int | None,
    listen: str,
    search: ModelSearch | None,
) -> NoReturn:
    """Serves on the address `listen` until cancelled. `port` None means the default port, or a free
    one if that is in use. `search` says how to search for the version's models first.

    Raises EngineCrashedError if ComfyUI ends by itself, UnavailableError for a port in use.
    """
    async with models_at_hand(home, search, say=listener.say) as (home, warnings):
        for warning in warnings:
            listener.say(f"Warning: {warning}")
        if port is None and is_taken(_USUAL_PORT, listen):
            listener.say(f"Port {_USUAL_PORT} is in use; ComfyUI uses a free one.")
        elif port is None:
            port = _USUAL_PORT
        with engine_setup(home, keeps_outputs=True, listen=listen) as setup:
            if listen != LOOPBACK:
                listener.say(f"Anyone who can reach {listen} on this machine can use ComfyUI.")
            listener.say(f"Starting ComfyUI of {home.root}.")
            async with Engine(setup, port=port, log_say=listener.log) as engine:
                warn_of_nodes(engine, home, listener)
                listener.say(f"ComfyUI is at {engine.url} until you press Ctrl-C.")
                if _has_a_screen(os.environ):
                    webbrowser.open(engine.url)
                await engine.ended
                raise engine.crashed("while serving its page")


def _has_a_screen(environment: Mapping[str, str]) -> bool:
    if "SSH_CONNECTION" in environment:
        return False
    return sys.platform == "darwin" or bool(
        environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY")
    )
