"""The grid of noise levels against EDM's equation and its own invariants."""

import pytest
import torch

from warped_diffusion.diffusion import karras_sigmas
from warped_diffusion.errors import UserError


def test_levels_are_even_in_the_root_of_sigma():
    sigmas = karras_sigmas(steps=18, sigma_min=0.002, sigma_max=80, rho=7)
    gaps = (sigmas[:-1] ** (1 / 7)).diff()
    torch.testing.assert_close(gaps, gaps[:1].expand(17), rtol=1e-10, atol=0)
    assert sigmas.shape == (19,)
    assert sigmas.dtype == torch.float64
    assert (sigmas.diff() < 0).all()


def test_ends_are_exact():
    sigmas = karras_sigmas(steps=5, sigma_min=0.002, sigma_max=80)
    assert (sigmas[0], sigmas[-2], sigmas[-1]) == (80, 0.002, 0)


def test_one_step_goes_from_the_top_to_zero():
    assert karras_sigmas(1, 0.01, 10).tolist() == [10, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0.01, 10, 7), "at least 1 step"),
        ((5, 0.0, 10, 7), "sigma_min"),
        ((5, 10, 1, 7), "sigma_min"),
        ((5, 0.01, float("nan"), 7), "sigma_min"),
        ((5, 0.01, 10, 0), "rho"),
    ],
)
def test_unusable_options_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        karras_sigmas(*arguments)
