"""Deblurring from the command line and from Python: by data consistency, with a noise that is reckoned with."""

from fractions import Fraction

import pytest
import torch

import warped_diffusion as wd
from tests.test_cli import frames_of, run
from warped_diffusion.errors import UserError
from warped_diffusion.metrics import psnr
from warped_diffusion.models import Model
from warped_diffusion.tasks import enlarge
from warped_diffusion.video import VideoWriter

HEIGHT, WIDTH, BLUR = 30, 42, 1.5
LEVEL = 1 / 255


def clip(count=3):
    """Sharp-edged patches that move by a pixel a frame."""
    coarse = torch.rand(1, 3, 5, 9, generator=torch.Generator().manual_seed(0)).round()
    picture = torch.nn.functional.interpolate(0.2 + 0.6 * coarse, size=(HEIGHT, WIDTH + count), mode="nearest")[0]
    return torch.stack([picture[..., j : j + WIDTH] for j in range(count)])


def rounded(frames):
    return (frames * 255).round() / 255


def test_a_blurred_clip_gets_sharper_and_agrees_with_its_input():
    truth = clip()
    given = rounded(wd.degrade(truth, "deblurring", blur=BLUR))
    restored = wd.restore(given, "deblurring", blur=BLUR, steps=6, flow="dis")
    assert (psnr(restored, truth) > psnr(given, truth) + 2).all()
    gap = wd.degrade(restored, "deblurring", blur=BLUR) - given
    assert gap.square().mean().sqrt() < 2 * LEVEL
    assert torch.equal(restored, wd.restore(given, "deblurring", model="embedded-prior", steps=6, flow="dis"))


def test_noise_is_not_made_larger():
    """An estimate that is right, projected towards a noisy input: noise that is not reckoned with is divided by 0."""
    truth = torch.full((1, 3, HEIGHT, WIDTH), 0.6)
    given = truth + LEVEL * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    model = Model(lambda noisy, sigma, condition: torch.full_like(noisy, 0.2), sees_input=False)
    restored = wd.restore(given, "deblurring", blur=2.0, model=model, steps=3)
    # r is far larger than the noise in the first steps only; in the last one the estimate is all but believed
    assert (restored - truth).square().mean().sqrt() < LEVEL


def test_a_network_told_of_the_input_is_held_to_it_as_far_as_blur_tells():
    """A model of one's own that leaves frames as they are, but for a wrong patch."""
    given = enlarge(clip(1), (HEIGHT, WIDTH))
    wrong = torch.zeros(1, 3, HEIGHT, WIDTH)
    wrong[..., 8:20, 10:24] = 0.8
    model = Model(lambda noisy, sigma, condition: condition["picture"] + wrong)
    restored = wd.restore(given, "deblurring", model=model, steps=2)
    free = (given + wrong / 2).clamp(0, 1)
    gap, left = (wd.degrade(x, "deblurring") - wd.degrade(given, "deblurring") for x in (free, restored))
    assert left.abs().max() < 0.4 * gap.abs().max()


def test_the_command_line_takes_the_width(monkeypatch, tmp_path, capsys):
    source, blurred, target = (tmp_path / name for name in ("in.mp4", "blurred.mp4", "out.mp4"))
    with VideoWriter(source, frame_rate=Fraction(25), size=(HEIGHT, WIDTH)) as writer:
        for frame in clip():
            writer.write(frame)
    width = ["--task", "deblurring", "--blur", 2]
    assert run(monkeypatch, "degrade", source, blurred, *width) == 0
    expected = wd.degrade(frames_of(source), "deblurring", blur=2)
    assert psnr(frames_of(blurred), expected).min() > psnr(wd.degrade(frames_of(source), "deblurring"), expected).max()
    assert run(monkeypatch, "restore", blurred, target, *width, "--steps", 2) == 0
    assert frames_of(target).shape == (3, 3, HEIGHT, WIDTH)
    assert run(monkeypatch, "restore", blurred, target, "--blur", 2, "--overwrite") == 2
    assert "task 'super-resolution' has no blur, got 2.0: leave it out" in capsys.readouterr().err


def test_without_consistency_there_is_no_deblurring():
    with pytest.raises(UserError, match="not told of the input"):
        wd.restore(clip(1), "deblurring", consistency=False, steps=1)
