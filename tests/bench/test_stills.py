"""The still moved by known motion, against a picture that is a formula."""

import cmath
import math
from dataclasses import dataclass

import pytest
import torch

from warped_diffusion.bench.stills import mean, pooled_psnr
from warped_diffusion.errors import ShapeError, UserError
from warped_diffusion.evaluate.moved import MARGIN, middle_clip, still, still_clip, warp_only
from warped_diffusion.flow.maps import identity_map
from warped_diffusion.flow.motion import Motion
from warped_diffusion.metrics import warping_error

SIZE, BORDER = (48, 56), 10


def waves(x, y):
    return torch.stack([0.5 + 0.4 * torch.cos(0.3 * x - 0.2 * y + phase) for phase in (0.0, 1.0, 2.0)])


def test_a_picture_turned_and_then_shifted_is_the_formula_turned_and_then_shifted():
    turn, shift = Motion.analytic(2, SIZE, rotation=8.0), Motion.analytic(2, SIZE, shift=(3.37, 1.2))
    fields = ("forward", "backward", "visible", "known")
    motion = Motion(*(torch.cat((getattr(turn, field), getattr(shift, field))) for field in fields))
    x, y = identity_map(*SIZE).double().unbind(-1)
    clip = still_clip(waves(x, y), motion)

    centre = complex((SIZE[1] - 1) / 2, (SIZE[0] - 1) / 2)
    z = torch.complex(x, y)
    turned_back = (z - centre) * cmath.exp(-1j * math.radians(8.0)) + centre
    shifted_and_turned_back = (z - complex(3.37, 1.2) - centre) * cmath.exp(-1j * math.radians(8.0)) + centre
    for frame, source in zip(clip, (z, turned_back, shifted_and_turned_back), strict=True):
        expected = waves(source.real, source.imag).float()[:, BORDER:-BORDER, BORDER:-BORDER]
        # float32 positions and frames; the spline itself leaves 1e-5 of these waves
        torch.testing.assert_close(frame[:, BORDER:-BORDER, BORDER:-BORDER], expected, rtol=0, atol=1e-4)


def test_the_clips_own_warping_error_is_the_rulers():
    picture = torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(0))
    spectrum = torch.fft.rfft2(picture)
    frequency = torch.fft.fftfreq(SIZE[0])[:, None].abs().maximum(torch.fft.rfftfreq(SIZE[1]))
    picture = torch.fft.irfft2(spectrum * (frequency < 0.25), s=SIZE).clamp(0, 1)  # half the Nyquist rate
    clip = still_clip(picture, Motion.analytic(6, SIZE, shift=(0.37, -0.21)))
    inner = clip[..., BORDER:-BORDER, BORDER:-BORDER]
    height, width = inner.shape[-2:]
    error = warping_error(inner, Motion.analytic(6, (height, width), shift=(0.37, -0.21)))
    assert error < 1e-4 * picture.var()


def test_a_motion_for_another_grid_is_refused():
    with pytest.raises(ShapeError, match=r"the motion is for \(C, 48, 56\)"):
        still_clip(torch.zeros(3, 48, 48), Motion.analytic(2, SIZE))


def test_warp_only_of_a_whole_shift_moves_the_frame_and_repeats_its_edge():
    first = torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(0))
    clip = warp_only(first, Motion.analytic(3, SIZE, shift=(2.0, 0.0)))
    torch.testing.assert_close(clip[0], first)
    torch.testing.assert_close(clip[2, ..., 4:], first[..., :-4], rtol=0, atol=1e-5)
    torch.testing.assert_close(clip[2, ..., :4], first[..., :1].expand(3, SIZE[0], 4), rtol=0, atol=1e-5)


def test_the_still_comes_from_the_shipped_clip_with_its_margin():
    found = still((96, 128))
    assert found.shape == (3, 96 + 2 * MARGIN, 128 + 2 * MARGIN)
    assert found.min() >= 0
    assert found.max() <= 1
    assert found.std() > 0.05


def test_the_middle_of_a_shifted_clip_shows_what_was_beside_it():
    size = (20, 24)
    picture = torch.rand(3, *(length + 2 * MARGIN for length in size), generator=torch.Generator().manual_seed(0))
    clip = middle_clip(picture, lambda frames, size: Motion.analytic(frames, size, shift=(2.0, 1.0)), 3, size)
    height, width = size
    for j, frame in enumerate(clip):
        top, left = MARGIN - j, MARGIN - 2 * j
        expected = picture[:, top : top + height, left : left + width]
        torch.testing.assert_close(frame, expected, rtol=0, atol=1e-5)  # float32 positions
    with pytest.raises(UserError, match="the still is"):
        middle_clip(picture[..., 1:], lambda frames, size: Motion.analytic(frames, size), 3, size)


def test_pooled_psnr_counts_every_pixel_alike_whatever_its_frame():
    truth = torch.zeros(2, 3, 4, 5)
    mask = torch.zeros(2, 4, 5, dtype=torch.bool)
    mask[0, 0, 0] = True
    mask[1, 1:, 1:] = True  # twelve pixels
    clip = truth + 0.3  # where the mask is not
    clip[0, :, 0, 0] = 0.2
    clip[1, :, 1:, 1:] = 0.1
    assert pooled_psnr(clip, truth, mask) == pytest.approx(-10 * math.log10((0.2**2 + 12 * 0.1**2) / 13), abs=1e-4)
    assert math.isnan(pooled_psnr(clip, truth, torch.zeros_like(mask)))


def test_the_mean_is_taken_figure_by_figure():
    @dataclass(frozen=True)
    class Two:
        one: float
        other: float

    assert mean([Two(1.0, 5.0), Two(2.0, 9.0)]) == Two(1.5, 7.0)
