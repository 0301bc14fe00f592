"""Which noise each frame gets: what stays, what moves, what is drawn anew."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from warped_diffusion.errors import ShapeError, UserError
from warped_diffusion.noise import SCHEMES, SPECTRA, get_spectrum, make_scheme

SIZE = (40, 56)
TRANSFORM = 2e-6
SIGMAS = 4.0

schemes = pytest.mark.parametrize("name", list(SCHEMES))
spectra = pytest.mark.parametrize("spectrum", list(SPECTRA))


def pixels() -> Tensor:
    height, width = SIZE
    grid = torch.meshgrid(torch.arange(float(width)), torch.arange(float(height)), indexing="xy")
    return torch.stack(grid, dim=-1)


def frames(name: str, count: int, *, step: tuple[float, float] = (0.0, 0.0), **options: Any) -> Tensor:
    scheme = make_scheme(name, **{"channels": 4, "size": SIZE, **options})
    return torch.stack([scheme.frame(j, pixels() - j * torch.tensor(step)) for j in range(count)])


@schemes
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


@spectra
def test_warped_noise_moves_with_the_picture(spectrum: str) -> None:
    noise = frames("gp", 3, step=(2.0, 1.0), spectrum=spectrum)
    assert (noise[1][..., 1:, 2:] - noise[0][..., :-1, :-2]).abs().max() < TRANSFORM
    assert (noise[2][..., 2:, 4:] - noise[0][..., :-2, :-4]).abs().max() < TRANSFORM


def test_fixed_and_warped_noise_begin_alike() -> None:
    assert (frames("fixed", 1, seed=6, shot=2) - frames("gp", 1, seed=6, shot=2)).abs().max() < TRANSFORM


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


def test_a_map_of_another_size_is_an_error() -> None:
    with pytest.raises(ShapeError, match=r"shape \(40, 40, 2\), expected \(40, 56, 2\)"):
        make_scheme("gp", channels=1, size=SIZE).frame(0, pixels()[:, :40])


def test_an_unknown_scheme_is_an_error() -> None:
    with pytest.raises(UserError, match='noise "brown" is not known: choose one of fixed, resample, gp'):
        make_scheme("brown", channels=1, size=SIZE)
