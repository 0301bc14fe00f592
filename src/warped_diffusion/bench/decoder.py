"""What a decoder that does not follow its latents' motion does to a steady clip, and what decoded guidance mends.

True frames, of a still moved by known motion and of a real clip, go through a codec one by one, and are then brought to
agreement.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from warped_diffusion.bench.harness import Cell, Options, Report, benchmark
from warped_diffusion.bench.real_clips import Footage, chosen, reduced
from warped_diffusion.bench.steadiness import MOTIONS
from warped_diffusion.bench.stills import TRUE, draw_frames
from warped_diffusion.canvas import Canvas
from warped_diffusion.decoded import ROUNDS, DecodedGuidance
from warped_diffusion.diffusion import Codec
from warped_diffusion.estimators import fine_motion
from warped_diffusion.evaluate.moved import middle_clip, still
from warped_diffusion.flow import Motion
from warped_diffusion.metrics import high_frequency_energy, psnr, warping_error
from warped_diffusion.models.pretrained.options import PretrainedOptions
from warped_diffusion.options import Options as Settings
from warped_diffusion.restoration import Restoration, Seen

BLOCK = 8
OFF = "as decoded"
FACTOR = 4
"""How many times smaller the real clip's input is, of which its flow is estimated."""

Steps = Sequence[Sequence[Tensor]]
"""From each frame to the next: forward, backward, visible, known."""


class BlockTransform:
    """A codec without weights: of each block of 8×8 pixels by itself the lower cosines, rounded.

    What it leaves out depends on where the blocks lie in the picture: it follows no motion but of whole blocks.

    Args:
        kept: cosines of which both frequencies together are below this are kept, of 0 to 7 in each direction.
        step: to whose multiples their coefficients are rounded, model units.
    """

    factor = BLOCK

    def __init__(self, kept: int = 5, step: float = 0.3) -> None:
        k, x = torch.arange(BLOCK), torch.arange(BLOCK)
        cosines = torch.cos(math.pi * (2 * x + 1) * k[:, None] / (2 * BLOCK)) * math.sqrt(2 / BLOCK)
        cosines[0] /= math.sqrt(2)
        waves = [torch.outer(cosines[i], cosines[j]) for i in range(BLOCK) for j in range(BLOCK) if i + j < kept]
        self.channels = 3 * len(waves)
        self.step = step
        self._basis = torch.stack(waves)[:, None]

    def encode(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1], sides multiples of 8 -> (B, channels, H / 8, W / 8)."""
        found = F.conv2d(pictures.flatten(0, 1)[:, None], self._basis.to(pictures), stride=BLOCK)
        return self.step * (found / self.step).round().reshape(len(pictures), self.channels, *found.shape[-2:])

    def decode(self, latents: Tensor) -> Tensor:
        """(B, channels, h, w) -> (B, 3, 8 h, 8 w) in [-1, 1]."""
        by_colour = latents.reshape(3 * len(latents), len(self._basis), *latents.shape[-2:])
        pictures = F.conv_transpose2d(by_colour, self._basis.to(latents), stride=BLOCK)
        return pictures.reshape(len(latents), 3, *pictures.shape[-2:]).clamp(-1, 1)


class Way(NamedTuple):
    """How frames are brought to agreement; `believe` as for `DecodedGuidance`, None for as a restoration would."""

    strength: float = 1.0
    rounds: int = ROUNDS
    believe: bool | None = None

    def __str__(self) -> str:
        rounds = f"strength {self.strength:g}, {self.rounds} round{'s' if self.rounds > 1 else ''}"
        return rounds if self.believe is None else f"{rounds}, all flow believed"


@dataclass(frozen=True)
class Effort:
    """How much is measured: what the table asks for, or less for a quick look.

    Attributes:
        size: (height, width) of the moved still.
        real_frames: the most that are taken of a real clip.
    """

    frames: int = 16
    size: tuple[int, int] = (96, 128)
    real_frames: int = 24
    ways: Sequence[Way] = (*(Way(rounds=rounds) for rounds in (1, 2, 3, 4, 6, 10)), Way(0.5), Way(2.0))


@dataclass(frozen=True, eq=False)
class Case:
    """A clip (N, 3, H, W) in [0, 1], the motion that it is judged by, and that along which it is brought to agreement.

    Attributes:
        known: whether the steps are the true motion, which a restoration would be given.
    """

    truth: Tensor
    motion: Motion
    steps: Steps
    known: bool


@dataclass(frozen=True)
class Figures:
    """A clip, measured: warping errors in squared units of [0, 1], `psnr` in dB.

    Attributes:
        worst: dB, the least that a frame gained over what was decoded.
        detail: of the last frame; `detail_ratio` over the first frame's.
    """

    to_first: float
    to_previous: float
    psnr: float
    worst: float
    detail: float
    detail_ratio: float


@benchmark("decoder")
def decoder(options: Options) -> Report:
    """Measure the stand-in, or the autoencoder of the checkpoint that `options.model` names; `options.out` gets frames.

    Raises: UserError if there is no such checkpoint, or a clip cannot be used.
    """
    return compare(options, Effort(), still(Effort().size))


def compare(options: Options, effort: Effort, picture: Tensor) -> Report:
    """The benchmark at any effort, on any picture that is `MARGIN` larger than the moved still on each side."""
    codec = choose_codec(options)
    found: dict[str, dict[str, Figures]] = {}
    shown: dict[str, dict[str, Tensor]] = {}
    for name, case in cases(options, effort, picture):
        decoded = through(codec, case.truth, options.device)
        ways = [*effort.ways] if case.known else [*effort.ways, Way(believe=True)]
        clips = {TRUE: case.truth, OFF: decoded} | {str(way): agreed(decoded, case, way) for way in ways}
        found[name] = {way: measured(clip, case, decoded) for way, clip in clips.items()}
        shown[name] = {way: clips[way] for way in (TRUE, OFF, str(Way()))}
    if options.out is not None:
        draw_frames(options.out, "decoder", shown, min(len(clips[TRUE]) for clips in shown.values()))
    table = [row for name, of in found.items() for row in rows(name, of)]
    return Report("decoder", COLUMNS, table, notes(codec, effort))


def cases(options: Options, effort: Effort, picture: Tensor) -> Iterator[tuple[str, Case]]:
    """The still under each known motion, then the real clips with flow as a restoration finds it."""
    for name, make in MOTIONS.items():
        motion = make(effort.frames, effort.size)
        steps = list(zip(motion.forward, motion.backward, motion.visible, motion.known, strict=True))
        yield name, Case(middle_clip(picture, make, effort.frames, effort.size), motion, steps, known=True)
    for clip in chosen(options.clip):
        footage = clip.read(options.frames or effort.real_frames)
        yield footage.name, Case(footage.frames, fine_motion(footage.frames), found_flow(footage), known=False)


def found_flow(footage: Footage) -> Steps:
    """The motion between frames that a restoration finds in the clip, reduced `FACTOR` times."""
    low = reduced(footage.frames, FACTOR)
    restoration = Restoration(Settings(scale=FACTOR, device="cpu"), (low.shape[-2], low.shape[-1]), None)
    seen = [Seen(frame, None) for frame in low]
    return [restoration.step(j, *pair) for j, pair in enumerate(pairwise(seen), 1)]


def choose_codec(options: Options) -> Codec:
    """That of the checkpoint which is asked for, else the stand-in.   Raises: UserError as `open_checkpoint`."""
    if options.model == Options().model:
        return BlockTransform()
    # diffusers takes seconds to import
    from warped_diffusion.models.pretrained.checkpoint import open_checkpoint
    from warped_diffusion.models.pretrained.codec import AutoencoderCodec

    pipe, _ = open_checkpoint(options.model, torch.device(options.device), PretrainedOptions())
    return AutoencoderCodec(pipe.vae)


def through(codec: Codec, clip: Tensor, device: str) -> Tensor:
    """Every frame (N, 3, H, W) in [0, 1] encoded and decoded by itself, on the CPU."""
    canvas = Canvas((clip.shape[-2], clip.shape[-1]), codec.factor, codec.factor)
    whole = (canvas.continued(frame[None].to(device)) * 2 - 1 for frame in clip)
    pictures = torch.cat([canvas.cropped(codec.decode(codec.encode(picture))).cpu() for picture in whole])
    return ((pictures + 1) / 2).clamp(0, 1)


def agreed(clip: Tensor, case: Case, way: Way) -> Tensor:
    """The decoded frames (N, 3, H, W) in [0, 1] after decoded guidance along the case's steps."""
    believe = case.known if way.believe is None else way.believe
    guidance = DecodedGuidance(way.strength, case.motion.size, clip.device, believe, way.rounds)
    steps = (None, *case.steps)
    pictures = [guidance.advance(frame * 2 - 1, step) for frame, step in zip(clip, steps, strict=True)]
    return (torch.stack(pictures) + 1) / 2


def measured(clip: Tensor, case: Case, decoded: Tensor) -> Figures:
    """All figures of one clip."""
    detail, gained = high_frequency_energy(clip), psnr(clip, case.truth) - psnr(decoded, case.truth)
    return Figures(
        to_first=float(warping_error(clip, case.motion, "first", per_frame=True)[-1]),
        to_previous=float(warping_error(clip, case.motion, "previous")),
        psnr=float(psnr(clip, case.truth).mean()),
        worst=float(gained.min()),
        detail=float(detail[-1]),
        detail_ratio=float(detail[-1] / detail[0]),
    )


COLUMNS = (
    "motion or clip",
    "frames",
    "error of last frame to first",
    "error to previous",
    "as decoded / this",
    "PSNR, dB",
    "worst frame − as decoded, dB",
    "detail, last frame",
    "last / first",
)


def rows(name: str, figures: Mapping[str, Figures]) -> list[list[Cell]]:
    """The table's part for one case; the true clip has no PSNR."""
    table: list[list[Cell]] = []
    for way, found in figures.items():
        errors = [found.to_first, found.to_previous, figures[OFF].to_previous / found.to_previous]
        fidelity = [None, None] if way == TRUE else [found.psnr, found.worst]
        table.append([name, way, *errors, *fidelity, found.detail, found.detail_ratio])
    return table


def notes(codec: Codec, effort: Effort) -> list[str]:
    height, width = effort.size
    stand_in = (
        f"codec: a stand-in for an autoencoder, {BLOCK}×{BLOCK} blocks of cosines, {codec.channels // 3} of "
        f"{BLOCK**2} kept and rounded; an autoencoder's errors look otherwise: give --model to measure one"
    )
    of_model = f"codec: the checkpoint's own autoencoder, {codec.channels} channels, cells of {codec.factor} pixels"
    return [
        "every true frame is encoded and decoded by itself, nothing is sampled",
        stand_in if isinstance(codec, BlockTransform) else of_model,
        f"motions: a still, {effort.frames} frames of {width}×{height}, moved by known motion, which is believed",
        f"real clips: brought to agreement along flow that is estimated from the clip reduced {FACTOR} times, and "
        "judged by that of the original",
        "error: mean squared difference in [0, 1] over pixels seen all the way, read by a quintic spline; the true "
        "clip's own error on that ruler is its row",
        "worst frame: 0 where none lost; first frames stay as they are",
        "detail: high-frequency energy, the mean square of a quarter of the Laplacian",
        f"decoded guidance takes {ROUNDS} rounds where nothing else is said",
    ]
