"""What uv's explanation says about who needs what."""

from __future__ import annotations

from runpod_comfy.lock.python.advice.reason import needs_in_reason
from runpod_comfy.lock.python.uv_request import PROJECT


def test_the_needs_of_distributions_are_read_and_the_lists_of_releases_are_not() -> None:
    reason = f"""
      cause: Because only the following versions of often are available:
                 often==1.0
                 often==1.1
             and old-side==1.0 depends on often[extra]>=1.0,
             <2, we can conclude that old-side==1.0 cannot be used.
             And because between{{sys_platform == 'linux'}}==2 depends on often>=2 and
             {PROJECT} depends on often<3, we can conclude that your requirements
             are unsatisfiable.
    """
    assert list(needs_in_reason(reason)) == [("often", ">=1.0,<2"), ("often", ">=2")]
