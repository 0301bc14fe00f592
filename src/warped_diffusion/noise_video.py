"""Noise to look at: what a scheme makes of it along a motion, as a clip and as a sheet of pictures."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from warped_diffusion.errors import UserError
from warped_diffusion.estimators import estimate_pair
from warped_diffusion.flow import compose, frame_weight, identity_map, known_motion
from warped_diffusion.metrics import band_limited, tiles
from warped_diffusion.noise import make_scheme
from warped_diffusion.video import VideoReader, VideoWriter, film_strip, write_picture

FRAME_RATE = 24
"""Frames a second where there is no clip that says."""
REACH = 3.0
"""Standard deviations of noise from mid-grey to white: one value in 370 lies beyond and is clipped."""
DECIBELS = 10.0
"""Of power, from mid-grey, where white noise lies, to white or black."""
TILE = 32
"""Side of the squares whose periodograms are averaged for the picture of a spectrum, pixels."""
SHOWN = 4
"""Frames on a sheet, at most, beside the last one."""
NOWHERE = 0.09
"""Level of what the first frame did not show."""


@dataclass(frozen=True)
class Options:
    """What noise is wanted.

    Attributes:
        scheme: a name in `noise.SCHEMES`.
        spectrum: a name in `noise.SPECTRA`.
        fresh: share of the variance that is drawn anew in every frame.
        motion: a name in `flow.MOTIONS`, where no clip is followed; None for "shift".
        frames: how many, where no clip is followed; None for 24.
        size: (height, width); None for the clip's, or (180, 320).
        flow: estimator of a clip's motion.
        color: three channels as red, green and blue (of which a clip of even sides keeps half the sharpness) or one.
        seed: of all randomness.
    """

    scheme: str = "gp"
    spectrum: str = "white"
    fresh: float = 0.0
    motion: str | None = None
    frames: int | None = None
    size: tuple[int, int] | None = None
    flow: str = "auto"
    color: bool = False
    seed: int = 0


class Step(NamedTuple):
    """Where a frame's pixels come from: P_j, and T_j⁻¹ for all but the first; (H, W, 2) each."""

    positions: Tensor
    backward: Tensor | None


def noise_video(
    target: str | Path,
    options: Options | None = None,
    source: str | Path | None = None,
    bounds: tuple[int | None, int | None] = (None, None),
    sheet: str | Path | None = None,
    overwrite: bool = False,
    begin: Callable[[int | None], None] = lambda _: None,
    progress: Callable[[int], None] = lambda _: None,
) -> str | None:
    """Write the noise of every frame as a picture, mid-grey being 0 and white 3 standard deviations.

    Args:
        target: the clip to write.
        source: a clip whose motion is followed, estimated as for its restoration; its frames' times and its sound go
            along. None for a known motion.
        bounds: the frames of `source` that are wanted.
        sheet: also draw some frames into this PNG file, each beside its spectrum and beside its difference to the
            first frame's noise carried along.
        overwrite: replace files that exist.
        begin, progress: told of the number of frames to come (None if unknown), and of those done.
    Returns: a warning if `source` could not be read to its end.
    Raises: UserError for a file or an option that cannot be used; nothing half-written is left behind.
    """
    options = options or Options()
    if sheet is not None:
        _require_free(Path(sheet), overwrite)
    with ExitStack() as stack:
        if source is None and bounds != (None, None):
            raise UserError("a range is of the input's frames: name an input, or say how many frames there should be")
        reader = None if source is None else stack.enter_context(VideoReader(source, *bounds))
        size = options.size or ((180, 320) if reader is None else reader.size)
        steps = _known(options, size) if reader is None else _estimated(reader, options, size)
        begin((options.frames or 24) if reader is None else reader.frames_expected)
        scheme = make_scheme(
            options.scheme,
            channels=3 if options.color else 1,
            size=size,
            spectrum=options.spectrum,
            seed=options.seed,
            fresh=options.fresh,
        )
        rate = FRAME_RATE if reader is None else None
        writer = stack.enter_context(VideoWriter(target, reader, size, frame_rate=rate, overwrite=overwrite))
        kept = _Kept()
        for index, (positions, backward) in enumerate(steps):
            made = scheme.frame(index, positions, backward)
            writer.write(_picture(made))
            kept.add(index, made, positions)
            progress(1)
        if sheet is not None:
            write_picture(sheet, draw_sheet(kept.frames))
    return None if reader is None else reader.warning


def _known(options: Options, size: tuple[int, int]) -> Iterator[Step]:
    motion = known_motion(options.motion or "shift", 24 if options.frames is None else options.frames, size)
    return (Step(motion.positions(j), motion.backward if j else None) for j in range(motion.frames))


def _estimated(frames: Iterable[Tensor], options: Options, size: tuple[int, int]) -> Iterator[Step]:
    if options.motion is not None or options.frames is not None:
        raise UserError(
            "the motion and the number of frames are the input's own: leave them out, or leave out the input"
        )

    def steps() -> Iterator[Step]:
        positions, previous = identity_map(*size), None
        for frame in frames:
            backward = None
            if previous is not None:
                backward = estimate_pair(previous, frame, size, options.flow)[1]
                positions = compose(positions, backward)
            yield Step(positions, backward)
            previous = frame

    return steps()


class _Kept:
    """Frames spread evenly over a clip of any length: at most `SHOWN`, and the last one."""

    def __init__(self) -> None:
        self._stride, self._kept = 1, list[tuple[int, Tensor, Tensor]]()

    def add(self, index: int, noise: Tensor, positions: Tensor) -> None:
        self._last = (index, noise, positions)
        if index % self._stride == 0:
            self._kept.append(self._last)
        if len(self._kept) > SHOWN:
            self._stride *= 2
            self._kept = self._kept[::2]

    @property
    def frames(self) -> list[tuple[int, Tensor, Tensor]]:
        """(index, noise, positions) of each."""
        return [kept for kept in self._kept if kept[0] != self._last[0]] + [self._last]


def draw_sheet(frames: list[tuple[int, Tensor, Tensor]]) -> Tensor:
    """Rows of noise | its spectrum | its difference to the first frame's noise carried along: (3, H', W').

    Args:
        frames: (index, noise (C, H, W), positions (H, W, 2)) of each row, C being 1 or 3; the first one's positions
            are the identity.
    """
    first = frames[0][1]
    rows = [[_picture(made), _spectrum(made), _difference(first, made, P)] for _, made, P in frames]
    return film_strip(
        rows,
        [f"frame {j}" for j, *_ in frames],
        ["noise", f"spectrum, +-{DECIBELS:.0f} dB", "minus first, carried along"],
    )


def _picture(noise: Tensor) -> Tensor:
    """(1 or 3, H, W) -> (3, H, W) in [0, 1]."""
    return (noise / (2 * REACH) + 0.5).clamp(0, 1).expand(3, -1, -1)


def _spectrum(noise: Tensor) -> Tensor:
    """(3, H, H): power in decibels, frequency zero in the middle, ±π at the sides; white noise is mid-grey all over."""
    side, height = min(TILE, *noise.shape[-2:]), noise.shape[-2]
    # Without a taper the strong frequencies of a tile would spill over the weak ones.
    window = torch.hann_window(side, periodic=False, dtype=torch.float64) if side > 2 else torch.ones(side).double()
    window = window[:, None] * window
    tapered = tiles(noise, side).double() * window / window.square().sum().sqrt()
    power = torch.fft.fftshift(torch.fft.fft2(tapered).abs().square().mean((0, 1)))
    decibels = 10 * power.clamp(min=1e-12).log10()
    levels = (decibels / (2 * DECIBELS) + 0.5).clamp(0, 1).float()
    return torch.nn.functional.interpolate(levels[None, None], size=(height, height), mode="bilinear")[0].expand(
        3, -1, -1
    )


def _difference(first: Tensor, noise: Tensor, positions: Tensor) -> Tensor:
    """(3, H, W): mid-grey where the first frame's noise came along, as a band-limited function; else noise again."""
    carried = band_limited(first, positions).to(noise)
    shown = frame_weight(positions, (noise.shape[-2], noise.shape[-1])) == 1
    return torch.where(shown, _picture((noise - carried) / math.sqrt(2)), NOWHERE)


def _require_free(sheet: Path, overwrite: bool) -> None:
    if sheet.suffix.lower() != ".png":
        raise UserError(f"the sheet {sheet} should end in .png")
    if not sheet.parent.is_dir():
        raise UserError(f"{sheet} cannot be written: there is no folder {sheet.parent}")
    if sheet.exists() and not overwrite:
        raise UserError(f"{sheet} exists: choose another name, or replace it with --overwrite")
