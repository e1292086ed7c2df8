"""The build side: from a version spec to a lock, a plan, a realized home or an image."""
