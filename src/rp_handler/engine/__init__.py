"""One ComfyUI process: its command, its log, its HTTP and WebSocket, its start and its end.

What a job makes of its answers is in `job`.
"""
