"""Small files under the names that the documents use, for commands to be run on."""

from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from tests.documents.blocks import ROOT
from tests.training.packed import pack
from warped_diffusion.video import VideoWriter, write_picture

FRAMES, SIZE = 3, (64, 144)
CLIPS = (
    "in.mp4",
    "small.mp4",
    "good.mp4",
    "sharp.mp4",
    "blurred.mp4",
    "clip.mkv",
    "removal/clip.mp4",
    "more.mp4",
    "clips/a.mp4",
)


def clip(size: tuple[int, int] = SIZE) -> Tensor:
    """A smooth picture that moves by a pixel a frame: (N, 3, H, W) in [0, 1]."""
    height, width = size
    coarse = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    wide = torch.nn.functional.interpolate(coarse, (height, width + FRAMES), mode="bicubic")[0].clamp(0, 1)
    return torch.stack([wide[..., j : j + width] for j in range(FRAMES)])


def place(folder: Path) -> None:
    """Write them all into `folder`."""
    frames = clip()
    for name in ("clips", "frames", "removal", "restored"):
        (folder / name).mkdir()
    for name in CLIPS:
        with VideoWriter(folder / name, size=SIZE, frame_rate=Fraction(25)) as writer:
            for frame in frames:
                writer.write(frame)
    for j, frame in enumerate(frames):
        write_picture(folder / "frames" / f"f-{j:04}.png", frame)
    hole = torch.zeros(3, *SIZE)
    hole[:, 24:34, 36:48] = 1
    for name in ("mask.png", "removal/mask.png"):
        write_picture(folder / name, hole)
    (folder / "src").symlink_to(ROOT / "src")  # of commands that are typed in the repository
    pack(folder / "pictures", [(64, 64)] * 20)
