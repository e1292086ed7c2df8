"""The commands that run workflows and compare their outputs, `test`, `repro` and `prove`, and the
one that says what an output was made from, `verify-picture`.

What counts as equal is in `comfy_workflows.compare`.
"""
