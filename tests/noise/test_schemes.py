"""Which noise each frame gets: what stays, what moves, what is drawn anew."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from warped_diffusion.errors import ShapeError, UserError
from warped_diffusion.noise import SCHEMES, SPECTRA, GaussianField, get_spectrum, make_scheme

SIZE = (40, 56)
TRANSFORM = 2e-6
SIGMAS = 4.0

MOVED = ["nearest", "bilinear", "integral", "gp"]
"""Schemes that look at the positions."""

schemes = pytest.mark.parametrize("name", list(SCHEMES))
moved = pytest.mark.parametrize("name", MOVED)
spectra = pytest.mark.parametrize("spectrum", list(SPECTRA))


def pixels() -> Tensor:
    height, width = SIZE
    grid = torch.meshgrid(torch.arange(float(width)), torch.arange(float(height)), indexing="xy")
    return torch.stack(grid, dim=-1)


def frames(name: str, count: int, *, step: tuple[float, float] = (0.0, 0.0), **options: Any) -> Tensor:
    scheme = make_scheme(name, **{"channels": 4, "size": SIZE, **options})
    return torch.stack([scheme.frame(j, pixels() - j * torch.tensor(step)) for j in range(count)])


@pytest.mark.parametrize("name", [name for name in SCHEMES if name != "bilinear"])
@spectra
def test_every_frame_has_unit_variance_and_the_spectrum_of_its_name(name: str, spectrum: str) -> None:
    """Over n values the standard error of a mean product is √(2·Σκ²/n) at most, and Σκ² is 1 (white) or 1.52."""
    noise = frames(name, 3, step=(0.37, -1.21), spectrum=spectrum, seed=2).double()
    assert noise.shape == (3, 4, *SIZE)
    one, zero = torch.ones(()).double(), torch.zeros(()).double()
    standard_error = math.sqrt(2 * 1.52 / noise[0].numel())
    for frame in noise:
        neighbours = (frame[..., 1:] * frame[..., :-1]).mean()
        assert abs(frame.square().mean() - 1) < SIGMAS * standard_error
        assert abs(neighbours - get_spectrum(spectrum).kernel(one, zero)) < SIGMAS * standard_error


def test_fixed_noise_stays_with_the_screen() -> None:
    noise = frames("fixed", 3, step=(1.0, 2.5))
    assert torch.equal(noise[0], noise[1])
    assert torch.equal(noise[0], noise[2])


def test_resampled_noise_is_independent_from_frame_to_frame() -> None:
    """Standard error of the correlation of n independent pairs: 1/√n = 0.011."""
    noise = frames("resample", 4).flatten(1).double()
    correlation = (noise @ noise.T / noise.shape[1]).fill_diagonal_(0)
    assert correlation.abs().max() < SIGMAS / math.sqrt(noise.shape[1])


@moved
@spectra
@pytest.mark.parametrize("step", [(2.0, 1.0), (-3.0, 2.0)], ids=str)
def test_whole_pixel_shifts_move_the_pixels(name: str, spectrum: str, step: tuple[float, float]) -> None:
    """Hence all schemes agree on them, to 1e-5 on pixels whose source lies in the first frame (2e-6 measured)."""
    noise = frames(name, 3, step=step, spectrum=spectrum, seed=4)
    first = frames("fixed", 1, spectrum=spectrum, seed=4)[0]
    assert (noise[0] - first).abs().max() < TRANSFORM
    for j in (1, 2):
        source = pixels() - j * torch.tensor(step)
        x, y = source.long().unbind(-1)
        inside = (x >= 0) & (x < SIZE[1]) & (y >= 0) & (y < SIZE[0])
        assert inside.float().mean() > 0.7
        assert (noise[j][:, inside] - first[:, y[inside], x[inside]]).abs().max() < 1e-5


@pytest.mark.parametrize("name", ["nearest", "bilinear", "integral"])
def test_beyond_the_first_frame_all_read_one_canvas(name: str) -> None:
    canvas = GaussianField(2, SIZE, seed=(1, 3)).canvas()
    height, width = canvas.shape[-2:]
    shift = torch.tensor([-17.0, 1e6])
    noise = make_scheme(name, channels=2, size=SIZE, seed=1, shot=3).frame(1, pixels() + shift)
    x, y = (pixels() + shift).long().unbind(-1)
    assert (noise - canvas[:, y % height, x % width]).abs().max() < TRANSFORM


@schemes
@spectra
def test_a_batch_equals_its_items_bit_for_bit(name: str, spectrum: str) -> None:
    """But for `resample`, whose items are independent: the first of them is what a single map gets."""
    scheme = make_scheme(name, channels=3, size=SIZE, spectrum=spectrum, seed=5)
    maps = torch.stack([pixels() @ turned(angle) + angle for angle in (0.0, 3.0, 40.0)])[:, None]
    together = scheme.frame(1, maps)
    assert together.shape == (3, 1, 3, *SIZE)
    assert together.dtype == torch.float32
    items = [scheme.frame(1, item) for item in maps[:, 0]]
    if name == "resample":
        assert torch.equal(together[0, 0], items[0])
        correlation = torch.corrcoef(together[:, 0].flatten(1)).fill_diagonal_(0)
        kappa = 1.0 if spectrum == "white" else 1.52  # Σκ² over all lags
        assert correlation.abs().max() < SIGMAS * math.sqrt(kappa / items[0].numel())
    else:
        assert torch.equal(together[:, 0], torch.stack(items))
    assert scheme.frame(1, maps[:0]).shape == (0, 1, 3, *SIZE)


def turned(degrees: float) -> Tensor:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return torch.tensor([[cos, sin], [-sin, cos]])


WILD = {
    "collapsed to a point": lambda p: p * 0 + 3.3,
    "collapsed to a line": lambda p: p * torch.tensor([1.0, 0.0]),
    "mirrored": lambda p: p * torch.tensor([-1.0, 1.0]),
    "folded": lambda p: torch.stack([(p[..., 0] - 20).abs(), p[..., 1]], -1),
    "torn": lambda p: p + 50 * (p[..., :1] > 20),
    "enlarged tenfold": lambda p: p / 10,
    "reduced fortyfold": lambda p: p * 40,
    "thrown about": lambda p: 1e3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(0)),
    "far away": lambda p: p + 1e7,
    "as far as numbers go": lambda p: p + 3e38,
}


@schemes
@pytest.mark.parametrize("kind", list(WILD))
def test_maps_that_no_picture_makes_still_give_noise(name: str, kind: str) -> None:
    noise = make_scheme(name, channels=2, size=SIZE).frame(1, WILD[kind](pixels()))
    assert noise.isfinite().all()
    assert noise.abs().max() < 10


@moved
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_positions_that_are_not_finite_are_an_error(name: str, bad: float) -> None:
    positions = pixels()
    positions[3, 4, 1] = bad
    with pytest.raises(UserError, match="not finite"):
        make_scheme(name, channels=1, size=SIZE).frame(1, positions[None])


@schemes
def test_a_frame_depends_on_seed_shot_and_its_own_arguments_only(name: str) -> None:
    noise = frames(name, 3, step=(0.3, 0.0), seed=1, shot=1)
    late = make_scheme(name, channels=4, size=SIZE, seed=1, shot=1).frame(2, pixels() - torch.tensor([0.6, 0.0]))
    assert torch.equal(noise[2], late)
    for other in ({"seed": 2, "shot": 1}, {"seed": 1, "shot": 2}, {"seed": 1, "shot": 0}):
        assert not torch.allclose(noise, frames(name, 3, step=(0.3, 0.0), **other), atol=0.1)


@schemes
def test_a_caller_who_writes_into_a_frame_spoils_no_other(name: str) -> None:
    scheme = make_scheme(name, channels=1, size=SIZE)
    first = scheme.frame(0, pixels())
    kept = first.clone()
    first.zero_()
    assert torch.equal(scheme.frame(0, pixels()), kept)


@schemes
@pytest.mark.parametrize("shape", [(40, 40, 2), (40, 56, 3), (56, 2), (2, 56, 40, 2)])
def test_a_map_of_another_size_is_an_error(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=rf"shape \({shape[0]}, .*, expected .*(H, W|40, 56), 2\)"):
        make_scheme(name, channels=1, size=SIZE).frame(0, torch.zeros(shape))


def test_an_unknown_scheme_is_an_error() -> None:
    with pytest.raises(
        UserError, match='noise "brown" is not known: choose one of fixed, resample, nearest, bilinear, integral, gp'
    ):
        make_scheme("brown", channels=1, size=SIZE)


@schemes
def test_a_share_of_the_variance_is_drawn_anew(name: str) -> None:
    """The mixture minus √(1 − f) of the scheme is √f of noise that no frame, shot or scheme shares.

    Standard error of the correlation of n independent pairs: 1/√n = 0.0054.
    """
    share, options = 0.3, {"channels": 16, "step": (0.4, -0.3), "seed": 9}
    warped, mixed = frames(name, 3, **options), frames(name, 3, **options, fresh=share)
    fresh = ((mixed - (1 - share) ** 0.5 * warped) / share**0.5).double()
    standard_error = 1 / math.sqrt(fresh[0].numel())
    assert (fresh.square().mean((1, 2, 3)) - 1).abs().max() < SIGMAS * math.sqrt(2) * standard_error
    together = torch.cat([fresh, warped.double(), frames("resample", 3, **options).double()]).flatten(1)
    correlation = torch.corrcoef(together).fill_diagonal_(0)[:3]
    assert correlation.abs().max() < SIGMAS * standard_error
    # The fresh part is the same under every scheme: schemes can be compared with it.
    fixed = frames("fixed", 3, **options, fresh=share) - (1 - share) ** 0.5 * frames("fixed", 3, **options)
    assert (fixed / share**0.5 - fresh).abs().max() < 1e-5


def test_the_ends_of_the_fresh_share() -> None:
    assert torch.equal(frames("nearest", 2, fresh=0.0), frames("nearest", 2))
    anew = frames("nearest", 2, fresh=1.0)
    assert torch.equal(anew, frames("fixed", 2, fresh=1.0))
    maps = pixels().expand(2, *SIZE, 2)
    one, other = make_scheme("fixed", channels=1, size=SIZE, fresh=0.5).frame(3, maps)
    assert not torch.allclose(one, other, atol=0.1)  # items of a batch are independent here


@pytest.mark.parametrize("fresh", [-0.1, 1.001, math.nan])
def test_a_fresh_share_beyond_its_range_is_an_error(fresh: float) -> None:
    with pytest.raises(UserError, match=r"fresh is .*0 to 1"):
        make_scheme("gp", channels=1, size=SIZE, fresh=fresh)
