"""Marbled Paper: a ComfyUI node that draws marbled paper from a seed."""

from .node import MarbledPaper

NODE_CLASS_MAPPINGS = {"MarbledPaper": MarbledPaper}
NODE_DISPLAY_NAME_MAPPINGS = {"MarbledPaper": "Marbled Paper"}

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
