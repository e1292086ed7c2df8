"""The record of what was built, kept in a realized home or baked into an image."""
