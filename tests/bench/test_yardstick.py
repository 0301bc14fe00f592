"""The yardstick is what it says: each part against the product's own, which was made and tested apart from it."""

import pytest
import torch

from tests.models.tiny import tiny_denoiser
from warped_diffusion.bench.yardstick import Cosines, bilinear, composed, literal_clip, restored
from warped_diffusion.diffusion import FrameInput, Link, NetworkGuidance, get_solver, karras_sigmas, sample
from warped_diffusion.flow import Motion, Warp, compose, identity_map
from warped_diffusion.models import Model, embedded
from warped_diffusion.noise.random_features import RandomFeatures
from warped_diffusion.noise.spectra import get_spectrum
from warped_diffusion.tasks import make_task

SIZE = (12, 16)
ROUNDING = {"rtol": 1e-4, "atol": 1e-5}
"""Single precision, through a few steps of a network and its gradient."""


def drawn(channels=3, seed=0):
    return Cosines.draw(channels, torch.Generator().manual_seed(seed))


def test_noise_is_the_paper_s_random_function():
    """The product's transform of the same features, and the truncated kernel's 0.341 at one pixel."""
    cosines, positions = drawn(), 1.3 * identity_map(*SIZE) + 0.2
    ours = RandomFeatures(cosines.frequencies, cosines.phases, cosines.weights, SIZE)
    expected = ours.at(positions.reshape(-1, 2).double()).reshape(3, *SIZE).float()
    torch.testing.assert_close(cosines(positions), expected, rtol=0, atol=1e-4)
    field = torch.stack([drawn(4, seed)(identity_map(40, 40)) for seed in range(8)])
    neighbours = (field[..., 1:] * field[..., :-1]).mean() / field.square().mean()
    assert float(neighbours) == pytest.approx(0.341, abs=0.02)  # four standard errors of this many pixels
    assert cosines.frequencies.abs().max() <= torch.pi
    spread = get_spectrum("squared-exponential").frequencies(torch.rand(3000, 2, dtype=torch.float64)).std()
    assert float(cosines.frequencies.std()) == pytest.approx(float(spread), rel=0.03)


def test_composition_is_bilinear():
    positions = identity_map(*SIZE) * 0.9 + 0.37
    image = torch.randn(3, *SIZE, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(bilinear(image, positions), Warp(positions, SIZE, "bilinear", widen=False).apply(image))
    torch.testing.assert_close(composed(positions, positions), compose(positions, positions))


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_a_clip_is_the_wavefront_s_under_the_paper_s_guidance(strength):
    """Same noise, same network: the sampler with `network` guidance, literal and bilinear, on one lane."""
    denoiser, cosines = tiny_denoiser(), drawn()
    sigmas = karras_sigmas(3, 0.02, 2.0)
    motion = Motion.analytic(3, SIZE, shift=(1.3, -0.6))
    condition = {"picture": torch.rand(3, *SIZE), "scale": torch.tensor(2.0), "spectrum": torch.tensor(1)}
    starts = [condition["picture"]] * 3
    found = list(literal_clip(denoiser, [condition] * 3, starts, motion, cosines, sigmas, strength))
    frames, positions = [], identity_map(*SIZE)
    last = torch.tensor([SIZE[1] - 1, SIZE[0] - 1])
    for j in range(3):
        links = ()
        if j > 0:
            T = motion.forward[j - 1]
            positions = compose(positions, motion.backward[j - 1])
            inside = ((T >= 0) & (T <= last)).all(-1).float()
            links = (Link(j - 1, Warp(T, SIZE, "bilinear", widen=False), inside, torch.ones(SIZE)),)
        frames.append(FrameInput(cosines(positions), condition, links, condition["picture"]))
    guidance = NetworkGuidance(strength, "literal", "bilinear")
    expected = sample(denoiser, frames, sigmas, get_solver("euler"), guidance)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, **ROUNDING)


def test_a_degraded_clip_comes_out_larger():
    low = torch.rand(2, 3, 8, 8)
    model = Model(tiny_denoiser(), embedded.SPECTRA, lambda _: (0.02, 2.0), lambda told: told["picture"])
    clip = torch.stack(list(restored(low, make_task("super-resolution", 2), model, karras_sigmas(2, 0.02, 2.0), 0)))
    assert clip.shape == (2, 3, 16, 16)
    assert 0 <= clip.min() <= clip.max() <= 1
