"""The folder that is put first on an engine's PYTHONPATH: `sitecustomize`, which Python imports at
its start.

Nothing else belongs here: every module of this folder would be visible to the engine. What the
hook reports is read by `rp_handler.engine.imports`.
"""
