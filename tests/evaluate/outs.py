"""A folder as an evaluation leaves it, with generated pictures and figures, for whatever reads such folders."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from warped_diffusion.evaluate import MEASURES, Way

WAYS = (
    Way("embedded", "resample", "white", "none"),
    Way("embedded", "gp", "white", "denoised"),
    Way("bicubic"),
)
LACKING = {"fid": "Inception's weights are not here: put inception.pth into the hub's folder."}
PUBLISHED = {
    "source": "Warped Diffusion (Daras et al., 2024)",
    "tables": [
        {
            "number": 3,
            "caption": "Mean-frame evaluation of super-resolution models for real videos.",
            "about": "Another network, other clips.",
            "rows": [
                {
                    "method": "Resample (indep)", "task": "super-resolution",
                    "noise": "resample", "spectrum": "white", "guidance": "none",
                    "values": {"warping-first": 0.934, "fid": 47.55, "ssim": 0.708}, "errors": {"warping-first": 0.341},
                },
                {
                    "method": "Warped Diffusion (ours)", "task": "super-resolution",
                    "noise": "gp", "spectrum": "squared-exponential", "guidance": "network",
                    "values": {"warping-first": 0.649, "fid": 58.189, "ssim": 0.654},
                    "errors": {"warping-first": 0.363},
                },
                {"method": "Fixed (gp)", "task": "inpainting", "noise": "fixed", "values": {"mse": 0.06}},
            ],
        }
    ],
}  # fmt: skip


def make_out(
    out: Path,
    clips: tuple[str, ...] = ("boat", "meadow"),
    ways: tuple[Way, ...] = WAYS,
    seeds: int = 2,
    frames: int = 12,
    size: tuple[int, int] = (48, 64),
    caption: str = "a boat on a lake",
) -> Path:
    """`out`, filled: every clip a picture that drifts, restored better by later ways; one restoration has failed."""
    rng = np.random.default_rng(0)
    for number, clip in enumerate(clips):
        folder = out / "clips" / clip
        truth = drifting(frames, size, number)
        low = truth.reshape(frames, size[0] // 4, 4, size[1] // 4, 4, 3).mean((2, 4)).astype(np.uint8)
        save(folder / "truth.npy", truth)
        save(folder / "input.npy", low)
        write(folder / "clip.json", {"name": clip, "caption": caption, "frames": frames, "flow": "known"})
        for i, way in enumerate(ways):
            for seed in range(1 if way.is_peer else seeds):
                place = folder / way.slug / f"seed-{seed}"
                noise = rng.normal(0, 30 / (1 + i), truth.shape)
                save(place / "restored.npy", (truth + noise).clip(0, 255).astype(np.uint8))
                write(place / "result.json", result(clip, way, seed, frames, 1 / (1 + i), rng))
    failed = {"clip": clips[0], "way": vars(ways[0]), "slug": ways[0].slug, "seed": seeds, "error": "ran out of paint"}
    write(out / "clips" / clips[0] / ways[0].slug / f"seed-{seeds}" / "result.json", failed)
    write(
        out / "settings.json", {"task": "super-resolution", "scale": 4, "frames": frames, "models": {"embedded": "ab"}}
    )
    write(out / "report.json", report(ways, len(clips), frames, failed))
    return out


def drifting(frames: int, size: tuple[int, int], number: int) -> np.ndarray:
    """Soft colours and some lines, moving 1 pixel a frame: (N, H, W, 3) uint8."""
    y, x = np.mgrid[: size[0], : size[1]] * (64 / size[1])
    pictures = []
    for j in range(frames):
        u = x + j
        red = 0.5 + 0.35 * np.sin(u / (5 + number)) * np.cos(y / 9)
        green = 0.5 + 0.3 * np.sin((u + y) / 13 + number)
        blue = 0.55 + 0.3 * np.cos(y / (7 + 2 * number))
        dark = 1 - 0.6 * (((u // 2) % 9 == 0) & (y > 20))
        pictures.append(np.stack([red, green, blue], -1) * dark[..., None])
    return (np.stack(pictures).clip(0, 1) * 255).astype(np.uint8)


def result(clip: str, way: Way, seed: int, frames: int, amount: float, rng: np.random.Generator) -> dict[str, Any]:
    wobble = 1 + 0.1 * rng.random(frames)
    growing = amount * 0.01 * np.linspace(0.4, 1, frames) * wobble
    later = [None, *growing[1:].tolist()]
    figures = {
        "mse": (amount * 0.004 * wobble).tolist(),
        "psnr": (27 - 3 * amount * wobble).tolist(),
        "ssim": (0.9 - 0.2 * amount * wobble).tolist(),
        "warping-pixel-first": later,
        "warping-pixel-previous": [None, *(amount * 0.006 * wobble[1:]).tolist()],
    }
    return {
        "clip": clip, "way": vars(way), "slug": way.slug, "seed": seed, "seconds_per_frame": 0.4 * amount,
        "frames": frames, "measures": figures, "missing": LACKING, "flow": "known",
    }  # fmt: skip


def report(ways: tuple[Way, ...], clips: int, frames: int, failed: dict[str, Any]) -> dict[str, Any]:
    values = {"mse": 0.004, "psnr": 27.0, "ssim": 0.8, "warping-pixel-first": 0.01, "warping-pixel-previous": 0.006}
    rows = [
        {"slug": way.slug, "way": vars(way), "spectrum": way.spectrum, "measure": name, "count": clips,
         "value": value * (1 + 0.02 * i if name in ("psnr", "ssim") else 1 / (1 + i)), "error": value / 40}
        for i, way in enumerate(ways) for name, value in [*values.items(), ("seconds-per-frame", 0.4)]
    ]  # fmt: skip
    curves = {
        name: {
            way.slug: [None, *(value / (1 + i) * (1 + 0.02 * j) for j in range(1, frames))]
            for i, way in enumerate(ways)
        }
        for name, value in values.items()
    }
    about = [{"name": name, "unit": MEASURES[name].unit, "better": MEASURES[name].better} for name in values]
    return {
        "measures": [*about, {"name": "seconds-per-frame", "unit": "s", "better": "lower", "scope": "clip"}],
        "rows": rows, "curves": curves, "missing": LACKING, "failed": [failed], "published": PUBLISHED,
        "machine": "a lathe",
    }  # fmt: skip


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
