"""The hosts of models as this machine reaches them."""

from __future__ import annotations

import os
from pathlib import Path

from comfy_files.progress import Say, say_nothing
from comfy_models.sources.hosts import Hosts, hosts_for
from runpod_comfy.sources.index.pip_settings import web_client


def model_hosts(base_dir: Path, *, timeout_s: float | None = None, say: Say = say_nothing) -> Hosts:
    """The hosts with pip's proxy and certificates and the environment's tokens and endpoints.

    Relative paths are based on `base_dir`. A host may be silent for `timeout_s` seconds.
    """
    client = web_client(remedy="Check the network, or add a mirror to the model in the spec.")
    return hosts_for(client, base_dir, os.environ, timeout_s=timeout_s, say=say)
