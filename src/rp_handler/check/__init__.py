"""The check of a version: the engine started once, and what that taught."""
