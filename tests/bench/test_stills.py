"""The still moved by known motion, against a picture that is a formula."""

import cmath
import math

import pytest
import torch

from warped_diffusion.bench.stills import still_clip
from warped_diffusion.errors import ShapeError
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
