"""EDM's preconditioning by the properties that define it [EDM, appendix B.6], not by its formulas."""

import torch

from warped_diffusion.diffusion import precondition as edm

SIGMA = torch.logspace(-3, 2, 21, dtype=torch.float64)
SIGMA_DATA = 0.17


def test_input_has_unit_variance():
    variance = edm.c_in(SIGMA, SIGMA_DATA) ** 2 * (SIGMA**2 + SIGMA_DATA**2)
    torch.testing.assert_close(variance, torch.ones_like(SIGMA))


def test_target_of_the_network_has_unit_variance():
    """F's target is (u_0 - c_skip (u_0 + s n)) / c_out, with u_0 and n independent."""
    skip, out = edm.c_skip(SIGMA, SIGMA_DATA), edm.c_out(SIGMA, SIGMA_DATA)
    variance = ((1 - skip) ** 2 * SIGMA_DATA**2 + skip**2 * SIGMA**2) / out**2
    torch.testing.assert_close(variance, torch.ones_like(SIGMA))


def test_skip_makes_the_networks_share_the_smallest():
    """c_skip minimises c_out, so any other skip would amplify the network's errors more."""
    skip = edm.c_skip(SIGMA, SIGMA_DATA).requires_grad_()
    squared_out = (1 - skip) ** 2 * SIGMA_DATA**2 + skip**2 * SIGMA**2
    (slope,) = torch.autograd.grad(squared_out.sum(), skip)
    torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0, atol=1e-12)
    torch.testing.assert_close(squared_out.detach(), edm.c_out(SIGMA, SIGMA_DATA) ** 2)


def test_loss_has_unit_weight_on_the_network():
    weight = edm.loss_weight(SIGMA, SIGMA_DATA) * edm.c_out(SIGMA, SIGMA_DATA) ** 2
    torch.testing.assert_close(weight, torch.ones_like(SIGMA))


def test_noise_level_is_told_as_a_quarter_of_its_logarithm():
    torch.testing.assert_close((4 * edm.c_noise(SIGMA)).exp(), SIGMA)
