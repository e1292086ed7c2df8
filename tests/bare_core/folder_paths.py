"""The model folders of the bare core, in the shape of ComfyUI's own module of this name."""

from pathlib import Path

BASE = Path(__file__).resolve().parent
models_dir = str(BASE / "models")

folder_names_and_paths = {
    "loras": ([str(BASE / "models/loras")], {".safetensors"}),
    "custom_nodes": ([str(BASE / "custom_nodes")], set()),
}
