"""Noise integrated over the pixels' outlines: sums that come out exactly, and noise that stays white."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from warped_diffusion.flow import identity_map
from warped_diffusion.metrics.noise import neighbour_correlation
from warped_diffusion.noise import SPECTRA, GaussianField, get_spectrum, make_scheme
from warped_diffusion.noise.seeds import SUBPIXELS
from warped_diffusion.noise.subpixels import SubPixels

SIZE = (96, 96)
SIGMAS = 4.0
"""Estimates must lie within this many standard errors; seeds are fixed, so a pass stays one."""


def about_the_centre(scale: float = 1.0, degrees: float = 0.0, across: float = 1.0) -> Tensor:
    """The map of a picture that grows by 1/scale, turns, and is squeezed along x by `across`."""
    centre = (torch.tensor(SIZE[::-1]) - 1) / 2
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    matrix = scale * torch.tensor([[cos, sin], [-sin, cos]]) * torch.tensor([across, 1 / across])
    return (identity_map(*SIZE) - centre) @ matrix + centre


def swirl() -> Tensor:
    offset = identity_map(*SIZE) - 47.5
    angle = 0.7 * torch.exp(-offset.square().sum(-1) / 600)
    x, y = offset.unbind(-1)
    return 47.5 + torch.stack([x * angle.cos() - y * angle.sin(), x * angle.sin() + y * angle.cos()], -1)


MAPS = {
    "sub-pixel shift": identity_map(*SIZE) + torch.tensor([0.37, -0.21]),
    "rotation": about_the_centre(degrees=30),
    "zoom in": about_the_centre(scale=1 / 1.6),
    "zoom out": about_the_centre(scale=1.6),
    "far out": about_the_centre(scale=2.1),
    "stretch": about_the_centre(across=1.4),
    "swirl": swirl(),
    "mirrored": about_the_centre() * torch.tensor([-1.0, 1.0]) + torch.tensor([95.0, 0.0]),
}


@pytest.mark.parametrize("name", MAPS)
def test_the_noise_stays_white(name: str) -> None:
    """Independent N(0, 1) have standard errors √(2/n) of the variance and 1/√pairs of neighbours: 0.0043, 0.0021."""
    noise = make_scheme("integral", channels=12, size=SIZE, seed=3).frame(1, MAPS[name]).double()
    n = noise.numel()
    assert abs(float(noise.square().mean()) - 1) < SIGMAS * math.sqrt(2 / n)
    assert abs(float(neighbour_correlation(noise))) < SIGMAS / math.sqrt(2 * n)
    diagonal = (noise[..., 1:, 1:] * noise[..., :-1, :-1]).mean()
    assert abs(float(diagonal)) < SIGMAS / math.sqrt(n)


def test_a_mirrored_or_turned_picture_has_its_pixels_noise() -> None:
    """Outlines that coincide with pixels hold all of their sub-pixels and no other, whichever way round they go."""
    scheme = make_scheme("integral", channels=2, size=SIZE, seed=3)
    first = scheme.frame(0, identity_map(*SIZE))
    assert (scheme.frame(1, identity_map(*SIZE).flip(1)) - first.flip(2)).abs().max() < 1e-5
    assert (scheme.frame(1, identity_map(*SIZE).transpose(0, 1)) - first.mT).abs().max() < 1e-5
    assert (scheme.frame(1, identity_map(*SIZE).rot90(1, (0, 1))) - first.rot90(1, (1, 2))).abs().max() < 1e-5


@pytest.mark.parametrize("shift", [(0.12, 0.12), (-0.12, -0.12), (0.12, -0.12)])
def test_motion_below_half_a_sub_pixel_changes_nothing(shift: tuple[float, float]) -> None:
    """An outline holds the sub-pixels whose centres it holds, and those lie an eighth of a pixel off its edges."""
    scheme = make_scheme("integral", channels=1, size=SIZE, seed=3)
    moved = scheme.frame(1, identity_map(*SIZE) + torch.tensor(shift))
    assert torch.equal(moved, scheme.frame(0, identity_map(*SIZE)))


@pytest.mark.parametrize("name", ["sub-pixel shift", "rotation", "zoom in", "zoom out"])
def test_another_spectrum_is_reached_by_a_filter(name: str) -> None:
    """Standard error of a mean product: √(2·Σκ²/n) at most, with Σκ² = 1.52."""
    noise = make_scheme("integral", channels=8, size=SIZE, spectrum="squared-exponential", seed=3).frame(1, MAPS[name])
    standard_error = math.sqrt(2 * 1.52 / noise.numel())
    assert abs(float(noise.square().mean()) - 1) < SIGMAS * standard_error
    for dx, dy in ((1, 0), (0, 1), (1, 1), (2, 0)):
        product = (noise[:, dy:, dx:] * noise[:, : SIZE[0] - dy, : SIZE[1] - dx]).mean()
        kappa = get_spectrum("squared-exponential").kernel(torch.tensor(float(dx)), torch.tensor(float(dy)))
        assert abs(float(product - kappa)) < SIGMAS * standard_error


@pytest.mark.parametrize(("shift", "shared"), [((0.5, 0.5), 0.25), ((0.25, 0.0), 0.75), ((0.5, 0.0), 0.5)])
def test_frames_correlate_by_the_area_that_pixels_share(shift: tuple[float, float], shared: float) -> None:
    """Standard error of the mean product of unit normals with correlation ρ: √((1 + ρ²)/n)."""
    scheme = make_scheme("integral", channels=8, size=SIZE, seed=5)
    first = scheme.frame(0, identity_map(*SIZE))
    then = scheme.frame(1, identity_map(*SIZE) + torch.tensor(shift))
    assert abs(float((first * then).mean()) - shared) < SIGMAS * math.sqrt((1 + shared**2) / first.numel())


def test_a_picture_that_grows_more_than_the_sub_pixels_shows_them_again() -> None:
    """At eightfold a sub-pixel of a quarter has 2 x 2 pixels, and neighbours correlate as those of `nearest` do."""
    noise = make_scheme("integral", channels=4, size=SIZE, seed=5).frame(1, about_the_centre(scale=1 / 8))
    assert abs(float(noise.square().mean()) - 1) < SIGMAS * math.sqrt(2 * 4 / noise.numel())
    assert float(neighbour_correlation(noise)) > 0.4


def test_an_outline_wider_than_it_may_be_keeps_its_middle() -> None:
    """Reduced fortyfold, every pixel sums 64 x 64 of its 160 x 160 sub-pixels: white, and none is shared."""
    scheme = make_scheme("integral", channels=4, size=(16, 16), seed=5)
    noise = scheme.frame(1, identity_map(16, 16) * 40)
    assert abs(float(noise.square().mean()) - 1) < 0.3  # on so small a canvas pixels meet again


def read_all(source: SubPixels, height: int, width: int) -> Tensor:
    y, x = np.mgrid[: height * source.finer, : width * source.finer]
    values = source.read(x.ravel(), y.ravel())
    return torch.from_numpy(values).unflatten(1, (height * source.finer, width * source.finer)).double()


@pytest.mark.parametrize("finer", [2, 4, 5])
def test_sub_pixels_are_independent_and_add_up_to_their_pixel(finer: int) -> None:
    canvas = GaussianField(4, (40, 40), seed=(8, 1)).canvas()
    height, width = canvas.shape[-2:]
    fine = read_all(SubPixels(canvas, finer, (8, 1, SUBPIXELS)), height, width)
    sums = fine.unflatten(1, (height, finer)).unflatten(3, (width, finer)).sum((2, 4)) / finer
    assert (sums - canvas).abs().max() < 1e-5
    n = fine.numel()
    assert abs(float(fine.square().mean()) - 1) < SIGMAS * math.sqrt(2 / n)
    for step in (1, 2, finer - 1, finer):
        for axis in (-1, -2):
            # A single lag of independent values, the period included.
            assert abs(float((fine * fine.roll(step, axis)).mean())) < SIGMAS / math.sqrt(n)


def test_sub_pixels_repeat_and_do_not_depend_on_what_was_read_before() -> None:
    canvas = GaussianField(2, (8, 8), seed=1).canvas()
    one, other = (SubPixels(canvas, 4, (1, 0, SUBPIXELS)) for _ in range(2))
    x, y = np.array([3, 40, 7]), np.array([30, 2, 17])
    late = read_all(one, 17, 17), one.read(x, y)
    assert np.array_equal(other.read(x, y), late[1])
    assert np.array_equal(one.read(x - 3 * 17 * 4, y + 17 * 4), late[1])
    assert not np.array_equal(SubPixels(canvas, 4, (1, 1, SUBPIXELS)).read(x, y), late[1])
    # More channels leave the first ones as they were.
    more = SubPixels(GaussianField(5, (8, 8), seed=1).canvas(), 4, (1, 0, SUBPIXELS)).read(x, y)
    assert np.allclose(more[:2], late[1], atol=1e-6)


@pytest.mark.parametrize("spectrum", list(SPECTRA))
def test_frames_do_not_depend_on_how_they_are_parted(spectrum: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def draw() -> Tensor:
        return make_scheme("integral", channels=2, size=(20, 30), spectrum=spectrum, seed=1).frame(
            1, about_the_centre(degrees=10)[:20, :30]
        )

    whole = draw()
    monkeypatch.setattr("warped_diffusion.noise.integral.AREA", 700)
    assert torch.equal(whole, draw())
