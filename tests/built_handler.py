"""The handler of images, for tests that build some."""

from __future__ import annotations

from pathlib import Path

from runpod_comfy.cache.paths import Cache
from runpod_comfy.images.context.programs import handler_pex

_BESIDE_THE_TESTS = Path(__file__).parents[1] / "src.rp_handler" / "handler.pex"


def built_handler() -> Path:
    """The handler's PEX, for COMFY_HANDLER_PEX.

    Pants puts it beside the tests whose BUILD file says
    `runtime_package_dependencies=["src/rp_handler:handler"]`. In a checkout it is built, once for
    the same sources.
    """
    if _BESIDE_THE_TESTS.is_file():
        return _BESIDE_THE_TESTS
    return handler_pex("linux-x86_64", Cache.from_environment(), print)
