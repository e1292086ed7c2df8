"""The commands that run workflows and compare their outputs: `test` and `repro`.

What counts as equal is in `comfy_workflows.compare`.
"""
