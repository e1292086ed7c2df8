"""The run side: supervises ComfyUI, runs workflows, delivers what they made."""
