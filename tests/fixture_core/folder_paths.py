"""The model folders of the fixture core, in the shape of ComfyUI's own module of this name."""

from __future__ import annotations

from pathlib import Path

BASE = Path(__file__).resolve().parent
models_dir = str(BASE / "models")
MODEL_SUFFIXES = {".safetensors", ".pth"}

folder_names_and_paths: dict[str, tuple[list[str], set[str]]] = {
    "checkpoints": ([str(BASE / "models/checkpoints")], MODEL_SUFFIXES),
    "text_encoders": (
        [str(BASE / "models/text_encoders"), str(BASE / "models/clip")],
        MODEL_SUFFIXES,
    ),
    "upscale_models": ([str(BASE / "models/upscale_models")], MODEL_SUFFIXES),
    "custom_nodes": ([str(BASE / "custom_nodes")], set()),
}


def filename_list(folder_name: str) -> list[str]:
    """The model files in a folder, sorted, as combos offer them."""
    directories, suffixes = folder_names_and_paths[folder_name]
    return sorted(
        {
            path.relative_to(directory).as_posix()
            for directory in map(Path, directories)
            for path in directory.rglob("*")
            if path.suffix in suffixes
        }
    )


def full_path(folder_name: str, file_name: str) -> str:
    """Raises FileNotFoundError."""
    places = [Path(one, file_name) for one in folder_names_and_paths[folder_name][0]]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise FileNotFoundError(
            f"Model in folder '{folder_name}' with filename '{file_name}' not found."
        )
    return str(found)
