"""What the program is there for: ComfyUI's page, RunPod's jobs, and a container's first process."""
