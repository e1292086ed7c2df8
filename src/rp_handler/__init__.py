"""The run side: supervises ComfyUI, turns a workflow into a result, delivers what it made."""
