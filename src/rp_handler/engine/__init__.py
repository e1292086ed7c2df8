"""One ComfyUI process: its command, its log, its HTTP and WebSocket, its start and its end."""
