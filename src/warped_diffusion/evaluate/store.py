"""The folder of an evaluation: what lies where, written so that a killed run leaves nothing half-written.

OUT/settings.json                    what a restoration depends on; a run with others is refused
OUT/report.json, report.md           tables
OUT/index.html                       the page
OUT/clips/CLIP/clip.json             {"name", "caption", "frames", "size": [H, W], "input_size": [h, w], "flow"}
                                     or {"name", "error"}
OUT/clips/CLIP/truth.npy             (N, H, W, 3) uint8
OUT/clips/CLIP/input.npy             (N, h, w, 3) uint8, degraded
OUT/clips/CLIP/mask.npy              (N, H, W) bool, 1 in the holes, of tasks that have some
OUT/clips/CLIP/SLUG/seed-N/restored.npy    (N, H, W, 3) uint8
OUT/clips/CLIP/SLUG/seed-N/timing.json     {"seconds_per_frame"}, before restored.npy
OUT/clips/CLIP/SLUG/seed-N/features.npz    of measures over all clips, by "MEASURE/KEY"
OUT/clips/CLIP/SLUG/seed-N/result.json     the last of all: {"clip", "way": {...}, "slug", "seed",
                                     "seconds_per_frame", "frames", "measures": {NAME: [a value for each frame,
                                     null where there is none]}, "missing": {NAME: SENTENCE}, "flow": SENTENCE}
                                     or {"clip", "way", "slug", "seed", "error": SENTENCE}
"""

import json
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

SETTINGS, REPORT, TABLES = "settings.json", "report.json", "report.md"


def clip_folder(out: Path, clip: str) -> Path:
    return out / "clips" / clip


def result_folder(out: Path, clip: str, slug: str, seed: int) -> Path:
    return clip_folder(out, clip) / slug / f"seed-{seed}"


def write_json(path: Path, content: object) -> None:
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    _write(path, lambda file: file.write(text.encode()))


def write_text(path: Path, text: str) -> None:
    _write(path, lambda file: file.write(text.encode()))


def write_array(path: Path, array: np.ndarray) -> None:
    _write(path, lambda file: np.save(file, array, allow_pickle=False))


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    _write(path, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]  # keys are not its keywords


def _write(path: Path, fill: Callable[[IO[bytes]], object]) -> None:
    """The file under its name, whole: written beside it and moved there in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with open(part, "wb") as file:
            fill(file)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any] | None:
    """The content, or None where there is no such file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def to_bytes(frames: Tensor) -> np.ndarray:
    """Frames (N, 3, H, W) in [0, 1] as (N, H, W, 3) uint8."""
    return (frames * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().cpu().numpy()


def to_frames(array: np.ndarray) -> Tensor:
    """The frames (N, 3, H, W) in [0, 1] that `to_bytes` wrote, to 8 bits."""
    return torch.from_numpy(array).permute(0, 3, 1, 2).float() / 255


def results(out: Path) -> Iterator[dict[str, Any]]:
    """Every result.json, by clip, way and seed; failed ones have an "error"."""
    for path in sorted(out.glob("clips/*/*/seed-*/result.json"), key=_by_number):
        yield json.loads(path.read_text(encoding="utf-8"))


def clips(out: Path) -> Iterator[dict[str, Any]]:
    """Every clip.json, by name; of clips that could not be read they have an "error"."""
    for path in sorted(out.glob("clips/*/clip.json")):
        yield json.loads(path.read_text(encoding="utf-8"))


def _by_number(path: Path) -> tuple[str, str, int]:
    return path.parts[-4], path.parts[-3], int(path.parts[-2].removeprefix("seed-"))
