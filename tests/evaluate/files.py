"""Small clips, weights and settings for tests of evaluation."""

from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from tests.bench.moving import moving, written
from tests.models.tiny import tiny_denoiser
from warped_diffusion.evaluate.clips import Clip, Source
from warped_diffusion.evaluate.settings import Settings
from warped_diffusion.flow import Motion
from warped_diffusion.models import embedded
from warped_diffusion.video import write_picture

SIZE, FRAMES = 32, 3
QUICK = Settings(frames=FRAMES, size=SIZE, steps=2, flow="dis")


def small(frames: int = FRAMES) -> Tensor:
    """(frames, 3, SIZE, SIZE) in [0, 1]."""
    return moving(frames, (SIZE, SIZE))


def write_video(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return written(path, small())


def write_frames(folder: Path, frames: Tensor) -> None:
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        write_picture(folder / f"{number:05d}.png", frame)


def write_weights(path: Path, broken: bool = False) -> str:
    """An embedded network with random weights; a broken one gives what is not a number."""
    denoiser = tiny_denoiser()
    if broken:
        denoiser.network.leave.bias.data.fill_(torch.nan)
    embedded.save(denoiser, path, {})
    return str(path)


def source(name: str, motion: Motion | None = None) -> Source:
    """A clip that is in memory; it can be sent to another process."""
    return Source(name, partial(Clip, name, small(), "a caption", motion))
