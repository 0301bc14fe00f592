"""Real clips at 4×, beside what others make of them: bicubic, the first frame warped, Real-ESRGAN frame by frame.

Each restores the same input on the same threads. The flow of the original is the judge's alone.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from warped_diffusion.bench.clips import DEFAULT, ORIGINAL, TASK, WAYS, Case, Effort, Figures, measured, run, write
from warped_diffusion.bench.harness import Cell, Options, Report, Table, benchmark
from warped_diffusion.bench.real_clips import Footage, chosen, reduced
from warped_diffusion.errors import UserError
from warped_diffusion.estimators import estimate_motion
from warped_diffusion.evaluate.clips import Clip
from warped_diffusion.evaluate.peers import BICUBIC, PEERS, REAL_ESRGAN, WARP_ONLY
from warped_diffusion.evaluate.real_esrgan import SCALE, load, missing
from warped_diffusion.models import Model, load_model
from warped_diffusion.tasks import make_task
from warped_diffusion.video import film_strip, write_picture

INPUT, OURS = "input", "ours"
WINDOW = (96, 128)
"""(height, width) of the part of a frame that the picture shows, pixels; of a smaller frame, all."""
MAGNIFIED = 2
"""How many times larger the picture shows a pixel."""
SLICED = 24
"""Of so many frames the picture shows one line, each below the one before."""


@benchmark("peers")
def peers(options: Options) -> Report:
    """Restore `options.clip`, or the clip that ships; `options.out` gets all clips and a picture of them too.

    Raises: UserError if Real-ESRGAN is not installed, a clip cannot be used, or there is no such model.
    """
    return compare(options, Effort(factors=(SCALE,)))


def compare(options: Options, effort: Effort) -> Report:
    """The benchmark at any effort; of its factors there is one, `SCALE`."""
    lacking = missing()
    if lacking is not None:
        raise UserError(lacking)
    load(torch.get_num_threads())  # before anything is timed
    model = load_model(options.model, TASK, torch.device(options.device))
    wanted = chosen(options.clip)
    read = [clip.read(effort.frames if options.frames is None else options.frames) for clip in wanted]
    found: dict[str, Mapping[str, Figures]] = {}
    strips: dict[str, list[Tensor]] = {}
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("restoring", total=sum(len(footage.frames) for footage in read) * effort.steps)

        def tick(count: int) -> None:
            progress.advance(bar, count)

        for clip, footage in zip(wanted, read, strict=True):
            shown, seconds = restored(footage, model, options, effort, tick)
            case = Case(footage)
            found[footage.name] = {name: measured(made, case, seconds.get(name)) for name, made in shown.items()}
            strips[clip.stem] = strip(shown, min(SLICED, *(len(footage.frames) for footage in read)))
            if options.out is not None:
                for name, made in shown.items():
                    write(options.out / f"{clip.stem}-{name}.mp4", made, footage.frame_rate)
    if options.out is not None:
        draw(options.out / "peers.png", strips)
    table = [row for name, figures in found.items() for row in rows(name, figures)]
    bounds = [row for name, figures in found.items() for row in bound_rows(name, figures)]
    more = {"Asked of ours": Table(BOUND_COLUMNS, bounds)}
    return Report("peers", COLUMNS, table, notes(read, options, effort), more=more)


def restored(
    footage: Footage, model: Model, options: Options, effort: Effort, tick: Callable[[int], None]
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """The original and what each makes of its reduction (N, 3, H, W), by name; the seconds that a frame took."""
    truth, low = footage.frames, reduced(footage.frames, SCALE)
    made, seconds = {ORIGINAL: truth}, dict[str, float]()
    started = time.perf_counter()
    motion = estimate_motion(low, (truth.shape[-2], truth.shape[-1]))
    finding = time.perf_counter() - started
    for name, peer in PEERS.items():
        started = time.perf_counter()
        made[name] = peer(Clip(footage.name, truth), low, make_task(TASK, SCALE), motion)
        elapsed = time.perf_counter() - started + (finding if name == WARP_ONLY else 0)
        seconds[name] = elapsed / len(low)
    made[OURS], seconds[OURS] = run(low, SCALE, WAYS[DEFAULT], model, options, effort, tick)
    return made, seconds


def strip(made: Mapping[str, Tensor], frames: int) -> list[Tensor]:
    """For the input, Real-ESRGAN, ours and the original: a window of a clip's middle frame, magnified, and below it the
    window's middle line in as many of the first frames, twice as high, (3, H, W) each."""
    truth = made[ORIGINAL]
    blocks = F.interpolate(reduced(truth, SCALE), scale_factor=SCALE, mode="nearest")
    rows, columns = window((truth - made[BICUBIC])[len(truth) // 2])
    strips = []
    for clip in (blocks, made[REAL_ESRGAN], made[OURS], truth):
        cut = clip[..., rows, columns]
        over_time = cut[:frames, :, cut.shape[-2] // 2].transpose(0, 1).repeat_interleave(2, 1)
        both = torch.cat([cut[len(cut) // 2], torch.zeros_like(over_time[:, :1]), over_time], 1)
        strips.append(F.interpolate(both[None], scale_factor=MAGNIFIED, mode="nearest")[0])
    return strips


def window(lost: Tensor) -> tuple[slice, slice]:
    """The rows and columns, `WINDOW` in all, where most was lost of a frame (3, H, W)."""
    size = [min(pair) for pair in zip(WINDOW, lost.shape[-2:], strict=True)]
    means = F.avg_pool2d(lost.square().mean(0, keepdim=True), size, stride=SCALE)[0]
    place = divmod(int(means.argmax()), means.shape[-1])
    rows, columns = (slice(at * SCALE, at * SCALE + length) for at, length in zip(place, size, strict=True))
    return rows, columns


def draw(path: Path, strips: Mapping[str, Sequence[Tensor]]) -> None:
    """A row for each clip.   Raises: UserError if the file cannot be written."""
    write_picture(path, film_strip(list(strips.values()), list(strips), [INPUT, REAL_ESRGAN, OURS, ORIGINAL]))


COLUMNS = ("clip", "restored", "error to previous", "flicker", "error to first", "PSNR, dB", "detail", "s per frame")
BOUND_COLUMNS = ("clip", "measure", OURS, REAL_ESRGAN, "accepted", "met")


def flicker(figures: Mapping[str, Figures], name: str) -> float:
    """The error to the previous frame beyond the original's."""
    return figures[name].to_previous - figures[ORIGINAL].to_previous


def rows(clip: str, figures: Mapping[str, Figures]) -> list[list[Cell]]:
    """The table's part for one clip."""
    return [
        [clip, name, f.to_previous, flicker(figures, name), f.to_first, f.psnr, f.detail, f.seconds]
        for name, f in figures.items()
    ]


def bound_rows(clip: str, figures: Mapping[str, Figures]) -> list[list[Cell]]:
    """What is asked of ours beside Real-ESRGAN, its part for one clip."""
    steadier, other = (flicker(figures, name) for name in (OURS, REAL_ESRGAN))
    nearer, far = (figures[name].psnr for name in (OURS, REAL_ESRGAN))
    return [
        [clip, "flicker", steadier, other, "at most half", "yes" if steadier <= other / 2 else "NO"],
        [clip, "PSNR, dB", nearer, far, "more", "yes" if nearer > far else "NO"],
    ]


def notes(read: Sequence[Footage], options: Options, effort: Effort) -> list[str]:
    return [
        *map(str, read),
        f"inputs are area averages of {SCALE}×{SCALE} pixels, in 8 bits; ours: all defaults, flow estimated from them, "
        f"{effort.steps} {effort.solver} steps, seed {options.seed}",
        "warp-only: our first frame, carried along the same flow; real-esrgan: realesrgan-x4plus, frame by frame",
        "error: mean squared difference in [0, 1] along the original's flow, over pixels that it shows in both frames, "
        "read by a quintic spline, as warp-only's frames are made; mean over frames",
        "flicker: the error to the previous frame less the original's; below 0 is steadier than the original, which "
        "what is blurred is too",
        "detail: high-frequency energy, the mean square of a quarter of the Laplacian",
        "s per frame: the whole restoration, once, on the threads named below, models loaded before; of warp-only and "
        "ours with their flow",
    ]
