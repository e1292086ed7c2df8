"""The folder that is put first on an engine's PYTHONPATH: `sitecustomize`, which Python imports at
its start, and what that loads by its path.

Nothing else belongs here: until `sitecustomize` runs, every module of this folder is visible to the
engine. What the hook reports is read by `rp_handler.engine.imports` and `.node_report`.
"""
