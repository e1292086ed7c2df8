"""One ComfyUI process: its command, log, HTTP and WebSocket interface, start and end.

Turning its answers into a job's result is in `job`.
"""
