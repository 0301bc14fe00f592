"""Noise keeps its statistics under maps that would ruin it."""

import math

import pytest
import torch

from warped_diffusion.flow import identity_map
from warped_diffusion.noise import make_scheme
from warped_diffusion.noise.schemes import fidelity

SIZE = (96, 96)


def stretched(factor: float) -> torch.Tensor:
    """The map that enlarges the picture by `factor` along x."""
    positions = identity_map(*SIZE)
    return torch.stack([positions[..., 0] / factor, positions[..., 1]], -1)


def turned(degrees: float) -> torch.Tensor:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return identity_map(*SIZE) @ torch.tensor([[cos, sin], [-sin, cos]])


@pytest.mark.parametrize("positions", [identity_map(*SIZE), identity_map(*SIZE) + 0.37, turned(30), stretched(1.15)])
def test_motion_close_to_rigid_is_left_alone(positions):
    assert (fidelity(positions) > 0.999).all()
    scheme = make_scheme("gp", channels=1, size=SIZE, seed=3)
    plain = scheme._field(positions)
    assert torch.allclose(scheme.frame(1, positions), plain, atol=1e-3)


@pytest.mark.parametrize("factor", [2.0, 8.0, 0.4, -1.0])
def test_stretching_crushing_and_folding_are_given_up(factor):
    assert (fidelity(stretched(factor)) < 1e-6).all()


def test_noise_under_a_stretch_stays_white():
    # Read through the map alone, neighbours along x would correlate by sinc(1/4) = 0.90.
    noise = make_scheme("gp", channels=16, size=SIZE, seed=5).frame(1, stretched(4.0))
    neighbours = float((noise[..., 1:] * noise[..., :-1]).mean())
    standard_error = (16 * 96 * 95) ** -0.5
    assert abs(neighbours) < 4 * standard_error
    assert abs(float(noise.var()) - 1) < 4 * (2 / noise.numel()) ** 0.5


def test_variance_is_one_where_the_two_functions_mix():
    positions = stretched(1.37)  # in the middle of the ramp
    beta = fidelity(positions)
    assert ((beta > 0.3) & (beta < 0.8)).all()
    noise = torch.cat([make_scheme("gp", channels=16, size=SIZE, seed=s).frame(1, positions) for s in range(4)])
    # Stretched noise has fewer independent values: the bound allows for half of them.
    assert abs(float(noise.var()) - 1) < 4 * (2 / (noise.numel() / 2)) ** 0.5
