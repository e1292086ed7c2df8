"""The modes of the program: ComfyUI's page, RunPod's jobs, a container's first process.

Running one workflow is in `job`.
"""
