"""The sample clip restored and measured: what `make demo` runs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from warped_diffusion.bench.harness import Cell, Report
from warped_diffusion.errors import UserError
from warped_diffusion.estimators import estimate_motion
from warped_diffusion.flow import Motion
from warped_diffusion.metrics import high_frequency_energy, psnr, warping_error
from warped_diffusion.options import Options
from warped_diffusion.restoration import Progress
from warped_diffusion.restore import restore_stream
from warped_diffusion.restore_video import Clock
from warped_diffusion.tasks import enlarge, make_task
from warped_diffusion.video import VideoReader, VideoWriter, film_strip, side_by_side, write_picture

ASSETS = Path(__file__).parent / "assets"
SHOWN = (0, 8, 16)
"""The frames of the film strip."""
COLUMNS = (
    "clip",
    "PSNR, dB",
    "warping error to first frame, 1e-4",
    "to previous frame, 1e-4",
    "high-frequency energy, 1e-4",
    "s per frame",
)


def run_demo(
    task: str,
    scale: int | None,
    steps: int,
    out: Path,
    begin: Callable[[int | None], None] = lambda _: None,
    progress: Progress = lambda _: None,
) -> Report:
    """Restore the sample, `scale` times larger or cleaned up; write clips and a film strip into `out`; measure.

    Warping errors are taken along the flow of the original clip, on visible pixels.

    Raises: UserError for another task, a scale other than 4 or 8, or a folder that cannot be written.
    """
    if task not in ("super-resolution", "clean-up"):
        raise UserError(f"the demo shows super-resolution and clean-up, got {task!r}")
    if scale not in ((None, 4, 8) if task == "super-resolution" else (None,)):
        raise UserError(f"the sample can be restored 4 or 8 times larger, or cleaned up at its own size, got {scale}")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {out}: {error.strerror}") from error
    with VideoReader(ASSETS / "sample.mp4") as reader, VideoReader(ASSETS / "sample-original.mp4") as originals:
        low, original = torch.stack(list(reader)), torch.stack(list(originals))
        if task == "clean-up":
            low = make_task(task).degrade(original)
        elif scale == 8:
            low = make_task(task, scale=2).degrade(low)
        begin(2 * steps * len(low))
        options = Options(task=task, scale=scale, steps=steps)
        label = "input" if task == "clean-up" else "input, bicubic"
        clips = {label: (enlarge(low, (original.shape[-2], original.shape[-1])).clamp(0, 1), 0.0)}
        variants = {"each frame alone": replace(options, noise="resample", guidance="none"), "restored": options}
        for name, variant in variants.items():
            clock = Clock(restore_stream(low, variant, progress=progress))
            clips[name] = (torch.stack(list(clock)), clock.seconds / len(low))
        _write(out, clips, reader)
        shown = [(name, clip) for name, (clip, _) in clips.items()] + [("original", original)]
        rows = [[_window(clip[j]) for j in SHOWN] for _, clip in shown]
        strip = film_strip(rows, [name for name, _ in shown], [f"frame {j}" for j in SHOWN])
        write_picture(out / "film-strip.png", strip)
    motion = estimate_motion(original, estimator="refined")
    table = [_measure(name, clip, original, motion, seconds) for name, (clip, seconds) in clips.items()]
    table.append(_measure("original", original, original, motion, 0.0))
    notes = [
        f"{len(low)} frames of Big Buck Bunny ((c) Blender Foundation, CC BY 3.0), "
        f"{low.shape[-1]}x{low.shape[-2]} to {original.shape[-1]}x{original.shape[-2]}, {steps} steps",
        f"look at {out / 'comparison.mp4'}: input | each frame alone | restored",
        "warping errors along the original's flow, on pixels that stay visible; detail: energy of the Laplacian",
    ]
    command = f"warped-diffusion demo --task {task} --steps {steps}" + ("" if scale is None else f" --scale {scale}")
    return Report("demo", COLUMNS, table, notes, command=command)


def _window(frame: Tensor) -> Tensor:
    """The part of a frame that the film strip shows: where the motion is."""
    return frame[:, 60:240, 170:410]


def _write(out: Path, clips: dict[str, tuple[Tensor, float]], like: VideoReader) -> None:
    restored = clips["restored"][0]
    strips = [side_by_side(list(frames), list(clips)) for frames in zip(*(c for c, _ in clips.values()), strict=True)]
    for name, frames in (("restored", restored), ("comparison", strips)):
        size = (frames[0].shape[-2], frames[0].shape[-1])
        with VideoWriter(out / f"{name}.mp4", like, size, overwrite=True) as writer:
            for frame in frames:
                writer.write(frame)


def _measure(name: str, clip: Tensor, original: Tensor, motion: Motion, seconds: float) -> list[Cell]:
    same = clip is original
    return [
        name,
        None if same else float(psnr(clip, original).mean()),
        float(warping_error(clip, motion, "first")) * 1e4,
        float(warping_error(clip, motion, "previous")) * 1e4,
        float(high_frequency_energy(clip).mean()) * 1e4,
        seconds or None,
    ]
