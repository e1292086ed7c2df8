"""Two runs of one workflow that differ in every way that a report shows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from comfy_workflows.compare.compare import compare
from comfy_workflows.compare.run import run_of
from comfy_workflows.compare.tolerance import parse_tolerance
from comfy_workflows.graph import Graph, parse_workflow
from comfy_workflows.report.parts import Part, Replaced, Report, ShownChange, ShownRun
from tests.comfy_workflows.compare.runs import CPU, GPU, file, result
from tests.media_files import Array, animation, deep_png, noise, picture, sound_file, tone, video

HOSTILE = "</script></title><img src=x onerror=\"document.title='attacked'\">\u202e"


def landscape(height: int = 384, width: int = 512, *, shift: float = 0.0) -> Array:
    """Smooth RGB pixels, as a picture has them."""
    y, x = np.mgrid[0:height, 0:width] / (height + width)
    waves = [np.sin(9 * x + 4 * y * each + shift) + np.cos(7 * y - each * x) for each in (1, 2, 3)]
    pixels: Array = (np.stack(waves, axis=-1) * 60 + 128).clip(0, 255).astype(np.uint8)
    return pixels


def with_a_patch(pixels: Array, amount: int = 40) -> Array:
    """A copy in which a round patch is brighter."""
    changed = pixels.astype(np.int16)
    y, x = np.mgrid[0 : pixels.shape[0], 0 : pixels.shape[1]]
    away = np.hypot(y - pixels.shape[0] * 0.4, x - pixels.shape[1] * 0.6) / pixels.shape[0]
    changed += (np.clip(0.3 - away, 0, 0.3) / 0.3 * amount).astype(np.int16)[..., np.newaxis]
    return changed.clip(0, 255).astype(np.uint8)


def with_one_pixel(pixels: Array) -> Array:
    changed = pixels.copy()
    changed[100, 200, 1] ^= 4
    return changed


def fading(*, quieter: bool = False) -> Array:
    """A second of sound that fades in and out three times; `quieter` towards the end."""
    loudness = np.abs(np.sin(np.linspace(0, 3 * np.pi, len(tone()))))
    if quieter:
        loudness *= np.linspace(1.3, 0.7, len(loudness)).clip(max=1)
    faded: Array = (tone() * loudness[:, np.newaxis]).astype(np.int16)
    return faded


def frames(count: int = 24, *, patched: int = -1) -> list[Array]:
    """A second of video, of which the frame `patched` has a patch."""
    made = [landscape(144, 192, shift=each / 4) for each in range(count)]
    return [with_a_patch(each) if at == patched else each for at, each in enumerate(made)]


def graph(count: int = 25) -> Graph:
    """Loaders, a row of nodes that each need the two before them, and nodes that save."""
    nodes: dict[str, Any] = {}
    for number in range(1, count + 1):
        inputs: dict[str, Any] = {"seed": number}
        if number > 4:
            inputs |= {"a": [str(number - 3), 0], "b": [str(number // 3), 0]}
        kind = ("CheckpointLoaderSimple", "CLIPTextEncode", "KSampler", "VAEDecode")[number % 4]
        nodes[str(number)] = {"class_type": kind, "inputs": inputs}
    special = {
        "6": {"class_type": "SaveImage", "_meta": {"title": "The whole picture"}},
        "12": {"class_type": HOSTILE},
    }
    for node in special.keys() & nodes.keys():
        nodes[node] |= special[node]
    return parse_workflow(nodes, place="x.json")


def changes() -> list[ShownChange]:
    """More than thirty, of every part."""
    parts: tuple[tuple[Part, str, str, str, str], ...] = (
        ("core", "ComfyUI", "version", "0.3.52", "0.3.75"),
        ("core", "ComfyUI", "commit", "1f" * 20, "2e" * 20),
        ("node", "ComfyUI-KJNodes", "commit", "3d" * 20, "4c" * 20),
        ("model", "checkpoints/sd_xl_base_1.0.safetensors", "sha256", "5b" * 32, "6a" * 32),
        ("setting", "options.comfy_args", "value", '["--lowvram"]', '["--deterministic"]'),
    )
    made = [ShownChange(part=a, name=b, key=c, before=d, after=e) for a, b, c, d, e in parts]
    made += [
        ShownChange(
            part="package",
            name=f"package-{number}",
            key="version",
            before=f"1.{number}.0",
            after=f"2.{number}.1",
        )
        for number in range(26)
    ]
    made.append(
        ShownChange(part="package", name="comfyui-frontend-package", before=None, after="1.32.9")
    )
    made.append(ShownChange(part="node", name=HOSTILE, before="an old one", after=None))
    return made


def full_report() -> Report:
    """Every verdict and every kind of output; texts from outside are hostile."""
    base = landscape()
    said = "A photo of a lake\nwith mountains behind it\nand a boat\nat dawn\n" * 3
    same = [file(picture(landscape(shift=each)), f"same_{each}.png", node="9") for each in range(3)]
    same += [
        file(video(frames(), sound=tone()), "same.mp4", node="11"),
        file(video(frames(), "matroska"), "same.mkv", node="17"),
        file(b"no video", "broken.mp4", node="16"),
        file(sound_file(tone(), "flac", "flac"), "same.flac", node="13"),
        file(sound_file(tone(), "ogg", "flac"), "same.ogg", node="15"),
    ]
    before = [
        file(picture(base), "ComfyUI_00001_.png", node="6"),
        file(picture(base), "close_00001_.png", node="6"),
        file(picture(landscape(shift=2)), "gone.png", node="18"),
        file(deep_png(noise(deep=True)), "deep.png", node="14"),
        *same,
        file(picture(base, said="before"), "meta.png", node="10"),
        file(video(frames(), "webm", codec="libvpx"), "a.webm", node="20"),
        file(sound_file(fading(), "wav"), "a.wav", node="21"),
        file(b'{\n "a": 1,\n "b": 2\n}\n', "a.json", node="22"),
        file(b"glTF", "a.glb", node="23"),
        file(animation(frames(6), "WEBP", lossless=True), "a.webp", node="24"),
    ]
    after = [
        file(picture(with_a_patch(base)), "ComfyUI_00002_.png", node="6"),
        file(picture(with_one_pixel(base)), HOSTILE + ".png", node="6"),
        file(deep_png(noise(seed=1, deep=True)), "deep.png", node="14"),
        *same,
        file(picture(base, said="after"), "meta.png", node="10"),
        file(picture(landscape(shift=4)), "new.png", node="19"),
        file(video(frames(patched=9), "webm", codec="libvpx"), "a.webm", node="20"),
        file(sound_file(fading(quieter=True), "wav"), "a.wav", node="21"),
        file(b'{\n "a": 1,\n "b": 3\n}\n', "a.json", node="22"),
        file(b"glTG", "a.glb", node="23"),
        file(animation(frames(6, patched=3), "WEBP", lossless=True), "a.webp", node="24"),
    ]
    nodes = {str(number): 40 * number**1.5 for number in range(1, 26)}
    then = result(
        *before,
        text=said,
        timings={"queue_ms": 0, "run_ms": 61_234, "nodes": nodes},
        version={"id": "demo", "lock": "sha256:" + "a" * 64, "comfyui": "0.3.52"},
        models=[{"path": "vae/x.safetensors", "sha256": "7" * 64}],
    )
    now = result(
        *after,
        text=said.replace("a boat", f"two boats {HOSTILE}", 1),
        timings={"run_ms": 48_017, "nodes": {each: ms * 0.8 for each, ms in nodes.items()}},
        version={"id": "demo-next", "lock": "sha256:" + "b" * 64, "comfyui": "0.3.75"},
        device={**CPU, "driver": GPU["driver"]},
        warnings=[HOSTILE],
        models=[{"path": "vae/x.safetensors", "sha256": "8" * 64}],
    )
    runs = (run_of(then), run_of(now))
    return Report(
        title="demo and demo-next",
        workflow="workflows/example.json",
        graph=graph(),
        before=ShownRun(title="demo", run=runs[0], result=then),
        after=ShownRun(title="demo-next", run=runs[1], result=now),
        comparison=replace(
            compare(*runs, tolerance=parse_tolerance("max=4")),
            notes=("The first node whose output differs is 3 (KSampler).",),
        ),
        changes=changes(),
        replaced=[
            Replaced(
                node="3", class_type="KSampler", sentence="Its code in ComfyUI is not the same."
            )
        ],
    )


def small_report(
    before: dict[str, Any] | None = None, after: dict[str, Any] | None = None, **changes: Any
) -> Report:
    """Two runs with these result documents; one text each by default."""
    documents = (before or result(text="one"), after or result(text="other"))
    runs = [run_of(each) for each in documents]
    usual: dict[str, Any] = {
        "title": "demo and demo-next",
        "workflow": "x.json",
        "graph": graph(9),
        "before": ShownRun(title="demo", run=runs[0], result=documents[0]),
        "after": ShownRun(title="demo-next", run=runs[1], result=documents[1]),
        "comparison": compare(*runs, tolerance=changes.pop("tolerance", None)),
    }
    return Report(**usual | changes)
