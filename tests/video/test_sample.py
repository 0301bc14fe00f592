"""The sample clips belong together and are credited."""

from pathlib import Path

import torch

import warped_diffusion
from warped_diffusion.video import VideoReader

ASSETS = Path(warped_diffusion.__file__).parent / "assets"
SMALLEST_PSNR = 37.0  # dB; 4:2:0 and the encoder together measured 38.1


def test_the_sample_is_the_area_average_of_the_original():
    with VideoReader(ASSETS / "sample.mp4") as sample, VideoReader(ASSETS / "sample-original.mp4") as original:
        assert (sample.size, original.size) == ((90, 160), (360, 640))
        assert sample.frame_rate == original.frame_rate == 25
        pairs = list(zip(sample, original, strict=True))
    assert len(pairs) == 24
    for small, large in pairs:
        average = large.reshape(3, 90, 4, 160, 4).mean((2, 4))
        assert -10 * torch.log10((small - average).square().mean()) > SMALLEST_PSNR


def test_it_moves():
    with VideoReader(ASSETS / "sample.mp4") as reader:
        frames = torch.stack(list(reader))
    assert (frames[1:] - frames[:-1]).abs().mean((1, 2, 3)).min() > 0.005  # no frame twice; measured .0083 to .0234


def test_it_is_credited():
    credits = (ASSETS / "CREDITS.md").read_text()
    assert "Blender Foundation" in credits
    assert "Attribution 3.0" in credits
