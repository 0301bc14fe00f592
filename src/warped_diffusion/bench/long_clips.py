"""Whether a restoration's memory grows with the length of its clip: the most that a process of its own ever holds."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from warped_diffusion.bench.harness import Options, Report, benchmark
from warped_diffusion.errors import UserError
from warped_diffusion.options import Options as Settings
from warped_diffusion.tasks import enlarge
from warped_diffusion.video import VideoWriter

LONG, SHORTER = 640, 10
"""Frames of the longer clip, and how many times the shorter one goes into it."""

BOUND = 1.05
"""Of the shorter clip's peak: what the longer one may take."""

SIZE, STEPS, SHOT = (96, 128), 2, 100
"""(H, W) of the restored frames, pixels; evaluations a frame; frames between two cuts."""

MIB = 2**20


@dataclass(frozen=True)
class Held:
    """Bytes of memory that a process had when a restoration began, and the most that it ever had."""

    before: int
    peak: int


@benchmark("memory")
def long_clips(options: Options) -> Report:
    """Peak resident memory of the restoration of a whole file, clips of 64 and of 640 frames.

    Raises: UserError for fewer than two frames' worth, for a scale that frames of `SIZE` are not a multiple of, and on
        systems that do not tell.
    """
    counts = _counts(options)
    with TemporaryDirectory() as folder:
        held = [_measured(count, Path(folder), options) for count in counts]
    rows = [
        (count, one.peak / MIB, one.before / MIB, (one.peak - one.before) / MIB)
        for count, one in zip(counts, held, strict=True)
    ]
    return Report(
        "memory",
        ("frames", "peak, MiB", "before the clip, MiB", "of the clip, MiB"),
        rows,
        notes=(
            f"{SIZE[1]}x{SIZE[0]} restored {options.scale} times larger in {STEPS} steps, a cut every {SHOT} frames; "
            "each clip in a new process, the whole of `restore`: decoding, flow, sampling, journal, encoding",
            "before the clip: what the process held once the program was loaded, but not the model",
            verdict(counts, [one.peak for one in held]),
        ),
    )


def verdict(counts: tuple[int, int], peaks: list[int]) -> str:
    """How the longer clip's peak stands to the shorter one's, and whether that is within the bound."""
    ratio = peaks[1] / peaks[0]
    kept = "met" if ratio < BOUND else "NOT met"
    return f"{counts[1]} frames take {ratio:.3f} of what {counts[0]} take; bound {BOUND}: {kept}"


def resident() -> Held:
    """Memory of this process: now as `before`, and the most so far.   Raises: UserError where only Linux tells."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError as error:
        raise UserError("memory of a process is read from /proc, which Linux has: run this benchmark there") from error
    kibibytes = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith(("VmRSS", "VmHWM"))}
    return Held(1024 * kibibytes["VmRSS"], 1024 * kibibytes["VmHWM"])


def _counts(options: Options) -> tuple[int, int]:
    longer = options.frames or LONG
    if longer < 2 * SHORTER or any(side % options.scale for side in SIZE):
        raise UserError(
            f"{longer} frames and scale {options.scale}: give at least {2 * SHORTER} frames, and a scale that "
            f"divides {SIZE[0]} and {SIZE[1]}"
        )
    return longer // SHORTER, longer


def _measured(count: int, folder: Path, options: Options) -> Held:
    clip = folder / f"{count}.mp4"
    size = (SIZE[0] // options.scale, SIZE[1] // options.scale)
    with VideoWriter(clip, frame_rate=25, size=size) as writer:
        for frame in _frames(count, size, options.seed):
            writer.write(frame)
    settings = Settings(
        scale=options.scale, steps=STEPS, model=options.model, device=options.device, seed=options.seed, cuts="auto"
    )
    # Not a fork, which would begin with what this process holds.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_restored, clip, folder / f"{count}-restored.mp4", settings).result()


def _frames(count: int, size: tuple[int, int], seed: int) -> Iterator[Tensor]:
    """(3, H, W) in [0, 1]: shots of a smooth pattern that moves half a pixel a frame."""
    for index in range(count):
        if index % SHOT == 0:
            generator = torch.Generator().manual_seed(seed + index)
            coarse = torch.rand(1, 3, size[0] // 2, size[1] // 2, generator=generator)
            pattern = enlarge(coarse, (size[0], 2 * size[1]))[0].clamp(0, 1)
        yield pattern.roll(index, -1).unflatten(-1, (-1, 2)).mean(-1)


def _restored(source: Path, target: Path, settings: Settings) -> Held:
    """Restore a clip in this process: what it held before and at most."""
    from warped_diffusion.restore_video import restore_video

    before = resident().before
    restore_video(source, target, settings)
    return Held(before, resident().peak)
