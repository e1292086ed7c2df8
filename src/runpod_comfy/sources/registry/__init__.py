"""Trees from the Comfy Registry, and its API."""
