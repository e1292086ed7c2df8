"""Every Python that a test starts imports this first."""

from tests.verified_homes import watch_realize

watch_realize()
