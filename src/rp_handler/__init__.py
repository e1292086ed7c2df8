"""The run side: supervises ComfyUI, turns a workflow into a result, delivers what it made.

It is the same program on a laptop and in an image, and never imports `runpod_comfy`.
"""
