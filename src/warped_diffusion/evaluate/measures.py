"""What a restored clip is measured by: one table, `MEASURES`, in the order of the reports.

A measure that cannot be had, for want of a library, of weights or of something in the clip, says so in `missing`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from warped_diffusion.errors import ShapeError, UserError
from warped_diffusion.evaluate import inception, libraries, perceptual
from warped_diffusion.flow import Motion
from warped_diffusion.metrics import high_frequency_energy, mse, psnr, warping_error

Better = Literal["higher", "lower", "none"]
Reference = Literal["first", "previous"]

NO_CAPTION = "this clip has no caption: give it one in captions.json or captions.csv beside the clips"
NO_LATENTS = "these frames were not made from latents: give a model that works on latents, a pretrained checkpoint"
WINDOW = 11
"""Pixels a side, of SSIM's window."""

IMAGES = "torchmetrics.functional.image"
SQUARED = "squared units of [0, 1]"
LATENT = "squared units of the latents"


class Context(NamedTuple):
    """What a restored clip is judged by.

    Attributes:
        truth: (N, 3, H, W) in [0, 1].
        degraded: (N, 3, h, w) in [0, 1], what was restored.
        motion: the flow that judges, on the grid of the truth.
        flow_source: where that flow is from: "known", "refined on the original".
        caption: "" for none.
        mask: (N, 1, H, W) or (N, H, W), 1 in the holes; None without holes.
        latents: `Codec.encode`, (N, 3, H, W) in [-1, 1] -> (N, C, h, w), of a model that has latents.
    """

    truth: Tensor
    degraded: Tensor
    motion: Motion
    flow_source: str
    caption: str = ""
    mask: Tensor | None = None
    latents: Callable[[Tensor], Tensor] | None = None


Lack = Callable[[Context | None], str | None]
"""One sentence saying why a measure cannot be had here, or of this clip, and how to get it; None if it can be had."""


def lacks_nothing(context: Context | None = None) -> None:
    """Of a measure that needs nothing but the clip."""
    return None


@dataclass(frozen=True)
class FrameMeasure:
    """A measure that gives each frame a number.

    Attributes:
        values: (restored (N, 3, H, W) in [0, 1], context) -> (N,) float64, nan for a frame that has none; the figure of
            a clip is the mean of the others. Raises UserError where `missing` has something to say.
        missing: without a context it speaks of libraries and weights alone.
    """

    name: str
    unit: str
    better: Better
    values: Callable[[Tensor, Context], Tensor]
    missing: Lack = lacks_nothing
    scope: Literal["frame"] = "frame"


@dataclass(frozen=True)
class SetMeasure:
    """A measure of all frames of all clips together.

    Attributes:
        features: (restored (N, 3, H, W) in [0, 1], context) -> named arrays (N, D), to be kept for each clip. Raises
            UserError where `missing` has something to say.
        combine: the features of every clip -> the figure; nan of too few frames.
        missing: without a context it speaks of libraries and weights alone.
    """

    name: str
    unit: str
    better: Better
    features: Callable[[Tensor, Context], dict[str, np.ndarray]]
    combine: Callable[[Sequence[dict[str, np.ndarray]]], float]
    missing: Lack = lacks_nothing
    scope: Literal["set"] = "set"


Measure = FrameMeasure | SetMeasure


def _mse(restored: Tensor, context: Context) -> Tensor:
    return mse(restored, context.truth)


def _psnr(restored: Tensor, context: Context) -> Tensor:
    return psnr(restored, context.truth)


def _ssim(restored: Tensor, context: Context) -> Tensor:
    """With the window of its authors, a Gaussian of 1.5 pixels, wherever it lies inside the frame."""
    if restored.shape != context.truth.shape:
        raise ShapeError(f"restored is {tuple(restored.shape)}, truth is {tuple(context.truth.shape)}: give equal ones")
    ssim = libraries.load(IMAGES, "SSIM").structural_similarity_index_measure
    _, everywhere = ssim(
        restored.double(), context.truth.double(), sigma=1.5, data_range=1.0, reduction="none", return_full_image=True
    )
    inside = slice(WINDOW // 2, -(WINDOW // 2))
    return everywhere[..., inside, inside].mean((1, 2, 3))


def lacks_ssim(context: Context | None = None) -> str | None:
    return libraries.reason(lambda: libraries.load(IMAGES, "SSIM"))


def _lpips(restored: Tensor, context: Context) -> Tensor:
    return perceptual.lpips(restored, context.truth)


def lacks_lpips(context: Context | None = None) -> str | None:
    return libraries.reason(perceptual.load_lpips)


def _clip_text(restored: Tensor, context: Context) -> Tensor:
    if not context.caption:
        raise UserError(NO_CAPTION)
    return perceptual.clip_text(restored, context.caption)


def lacks_caption(context: Context | None = None) -> str | None:
    """The clip's own lack comes first: without a caption no weights are of use."""
    if context is not None and not context.caption:
        return NO_CAPTION
    return lacks_clip()


def _clip_image(restored: Tensor, context: Context) -> Tensor:
    return perceptual.clip_image(restored, context.truth)


def lacks_clip(context: Context | None = None) -> str | None:
    return libraries.reason(perceptual.load_clip)


def _fid(restored: Tensor, context: Context) -> dict[str, np.ndarray]:
    return inception.fid_features(restored, context.truth)


def _inception_score(restored: Tensor, context: Context) -> dict[str, np.ndarray]:
    return inception.score_features(restored)


def lacks_inception(context: Context | None = None) -> str | None:
    return libraries.reason(inception.load_inception)


def _warping(reference: Reference, latent: bool) -> Callable[[Tensor, Context], Tensor]:
    """Warping error per frame, of frames or of the latents that they are encoded to; nan for frame 0."""

    def values(restored: Tensor, context: Context) -> Tensor:
        frames, motion = restored, context.motion
        if latent:
            frames = encode(context, restored)
            motion = motion.resize((frames.shape[-2], frames.shape[-1]))
        return from_second(warping_error(frames, motion, reference, per_frame=True))

    return values


def encode(context: Context, restored: Tensor) -> Tensor:
    """A clip's latents, one frame after the other."""
    if context.latents is None:
        raise UserError(NO_LATENTS)
    with torch.no_grad():
        return torch.cat([context.latents(frame[None] * 2 - 1) for frame in restored])


def lacks_latents(context: Context | None = None) -> str | None:
    return NO_LATENTS if context is not None and context.latents is None else None


def _flicker(restored: Tensor, context: Context) -> Tensor:
    """Warping error to the previous frame beyond the true clip's own, over the same visible pixels."""
    own, true = (warping_error(x, context.motion, "previous", per_frame=True) for x in (restored, context.truth))
    return from_second(own - true)


def _sharpness(restored: Tensor, context: Context) -> Tensor:
    return high_frequency_energy(restored)


def _sharpness_drift(restored: Tensor, context: Context) -> Tensor:
    """High-frequency energy of a shot's last frame over its first frame's; nan for all other frames."""
    energy = high_frequency_energy(restored)
    drift = torch.full_like(energy, torch.nan)
    starts = [0, *context.motion.cuts]
    for first, end in zip(starts, [*starts[1:], len(restored)], strict=True):
        if end - first > 1:
            drift[end - 1] = energy[end - 1] / energy[first]
    return drift


def from_second(values: Tensor) -> Tensor:
    """(N-1,) of the frames from the second on -> (N,), nan for the first."""
    return torch.cat([values.new_full((1,), torch.nan), values])


_ALL: tuple[Measure, ...] = (
    FrameMeasure("mse", SQUARED, "lower", _mse),
    FrameMeasure("psnr", "dB", "higher", _psnr),
    FrameMeasure("ssim", "1", "higher", _ssim, lacks_ssim),
    FrameMeasure("lpips", "1", "lower", _lpips, lacks_lpips),
    FrameMeasure("clip-text", "cosine", "higher", _clip_text, lacks_caption),
    FrameMeasure("clip-image", "cosine", "higher", _clip_image, lacks_clip),
    SetMeasure("fid", "1", "lower", _fid, inception.fid, lacks_inception),
    SetMeasure("inception-score", "1", "higher", _inception_score, inception.inception_score, lacks_inception),
    FrameMeasure("warping-pixel-first", SQUARED, "lower", _warping("first", latent=False)),
    FrameMeasure("warping-pixel-previous", SQUARED, "lower", _warping("previous", latent=False)),
    FrameMeasure("warping-latent-first", LATENT, "lower", _warping("first", latent=True), lacks_latents),
    FrameMeasure("warping-latent-previous", LATENT, "lower", _warping("previous", latent=True), lacks_latents),
    FrameMeasure("flicker", SQUARED, "lower", _flicker),
    FrameMeasure("sharpness", SQUARED, "none", _sharpness),
    FrameMeasure("sharpness-drift", "last over first", "none", _sharpness_drift),
)

MEASURES: dict[str, Measure] = {measure.name: measure for measure in _ALL}
