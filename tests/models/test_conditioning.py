"""What each task shows and tells the network, and what the network can say about it."""

import numpy as np
import pytest
import torch

from tests.models.tiny import SHALLOW, randn, tiny_denoiser
from warped_diffusion.diffusion import (
    FrameInput,
    get_solver,
    karras_sigmas,
    make_guidance,
    precondition,
    sample,
)
from warped_diffusion.masks import FAR, random_masks
from warped_diffusion.models.conditioning import (
    LABELS,
    PRIOR,
    SPOILT,
    OverEnlargement,
    OverFill,
    OverInput,
    enlargement_deviation,
    fill_deviation,
    labels,
)
from warped_diffusion.models.embedded import EmbeddedDenoiser
from warped_diffusion.tasks import Inpainting

SIGMA = torch.tensor([20.0, 0.3, 0.01, 1.0])


def inpainting(height=16, width=24):
    """Four items: three with holes, the last with nothing known. Noisy frames, and what they were made from."""
    pictures = torch.rand(4, 3, height, width, generator=torch.Generator().manual_seed(5))
    mask = random_masks(4, (height, width), np.random.default_rng(0), whole=0)
    mask[3] = 1
    condition = dict(Inpainting().condition(pictures, mask)) | {"spectrum": torch.tensor([0, 1, 1, 0])}
    clean = pictures * 2 - 1
    return clean + SIGMA[:, None, None, None] * randn(*clean.shape), clean, condition


def test_the_enlargements_deviation_by_factor():
    scale = torch.tensor([2.0, 4.0, 8.0, 0.0])
    torch.testing.assert_close(enlargement_deviation(scale), torch.tensor([0.085, 0.14, 0.195, 0.5]))
    low, high = OverEnlargement().sigma_range({"scale": torch.tensor(8.0)})
    assert (low, high) == pytest.approx((0.195 / 40, 0.195 * 60))


def test_the_fills_deviation_grows_with_depth_as_measured():
    depth = torch.tensor([0.0, 1, 3, 6, 12, 24, 48, FAR])
    measured = torch.tensor([0.0, 0.12, 0.18, 0.22, 0.27, 0.32, 0.41, 0.56])
    # the law is a straight line through what was measured to about a tenth
    torch.testing.assert_close(fill_deviation(depth), measured, rtol=0.12, atol=0)


def test_labels_tell_level_factor_and_spectrum_apart():
    rows = [
        labels(torch.tensor([level]), torch.tensor([scale]), torch.tensor([spectrum]))[0]
        for level in (0.03, 0.5, 1.0, 12.0)
        for scale in (0.0, 1.0, 2.0, 4.0, 8.0)
        for spectrum in (0, 1)
    ]
    assert torch.stack(rows).isfinite().all()
    assert torch.pdist(torch.stack(rows)).min() > 0.1


def test_outside_the_hole_the_estimate_is_the_input_to_the_last_bit():
    u, clean, condition = inpainting()
    h = tiny_denoiser(task="inpainting")(u, SIGMA, condition)
    known = (condition["mask"] == 0).expand_as(h)
    assert torch.equal(h[known], clean[known])
    assert (h - condition["picture"])[~known].abs().max() > 0.01


def test_the_network_never_sees_the_noise_outside_the_hole():
    u, _, condition = inpainting()
    denoiser = tiny_denoiser(task="inpainting")
    known = condition["mask"] == 0
    other = u + 100 * randn(*u.shape, seed=9) * known
    assert torch.equal(denoiser(other, SIGMA, condition), denoiser(u, SIGMA, condition))


def test_a_fresh_denoiser_shrinks_each_pixel_by_its_own_variance():
    u, _, condition = inpainting()
    c, s = condition["picture"], SIGMA[:, None, None, None]
    skip = precondition.c_skip(s, fill_deviation(condition["depth"]))
    expected = c + skip * (u - c)
    torch.testing.assert_close(
        EmbeddedDenoiser(SHALLOW, "inpainting")(u, SIGMA, condition), expected, rtol=0, atol=1e-6
    )


def test_base_and_shown_residual_add_up_to_the_noisy_picture_where_there_is_little_noise():
    u, _, condition = inpainting()
    sigma = torch.full((4, 1, 1, 1), 1e-4)
    shown = OverFill().inputs(u - condition["picture"], sigma, condition)
    together = shown[:, 3:6] + PRIOR * shown[:, :3]
    torch.testing.assert_close(together, torch.where(condition["mask"] > 0, u, condition["picture"]), rtol=0, atol=1e-4)


def test_what_the_network_is_shown_never_exceeds_unit_variance_and_fades():
    condition = {"picture": torch.zeros(1, 3, 64, 64), "mask": torch.ones(1, 1, 64, 64)}
    condition["depth"] = torch.full((1, 1, 64, 64), FAR)
    deviations = []
    for level in (0.01, 0.5, 2.0, 8.0, 30.0):
        residual = PRIOR * randn(1, 3, 64, 64) + level * randn(1, 3, 64, 64, seed=1)
        sigma = torch.full((1, 1, 1, 1), level)
        deviations.append(OverFill().inputs(residual, sigma, condition)[:, :3].std().item())
    assert max(deviations) < 1.03  # 12 288 normals
    assert min(deviations[:3]) > 0.85
    assert deviations[-1] < 0.15


def test_tasks_with_nothing_known_are_told_the_same():
    """So that the prior of pictures that one network has learned is a beginning for the other."""
    picture, spectrum = torch.zeros(4, 3, 8, 8), torch.tensor([0, 1, 0, 1])
    whole = Inpainting().condition(picture, torch.ones(4, 1, 8, 8)) | {"spectrum": spectrum}
    nothing = {"picture": picture, "scale": torch.zeros(4), "spectrum": spectrum}
    sr, fill = OverEnlargement(), OverFill()
    assert torch.equal(whole["picture"], picture)
    assert torch.equal(fill.unit(whole), sr.unit(nothing))
    assert torch.equal(fill.labels(SIGMA, whole), sr.labels(SIGMA, nothing))
    assert fill.labels(SIGMA, whole).shape == (4, LABELS)
    low = torch.full((4, 1, 1, 1), 0.01)
    residual = randn(4, 3, 8, 8)
    shown = [task.inputs(residual, low, c)[:, :6] for task, c in ((sr, nothing), (fill, whole))]
    torch.testing.assert_close(shown[0], shown[1], rtol=1e-3, atol=0)  # to (sigma / s_data)^2


def test_clean_up_is_told_and_shown_what_an_enlargement_of_one_deviation_is():
    """So that what is said of the one preconditioning holds for the other."""
    picture = randn(4, 3, 8, 8)
    condition = {"picture": picture, "spectrum": torch.tensor([0, 1, 0, 1])}
    clean, residual, s = OverInput(), randn(4, 3, 8, 8, seed=1), SIGMA[:, None, None, None]
    assert torch.equal(clean.unit(condition), torch.full((4,), SPOILT))
    shown = clean.inputs(residual, s, condition)
    assert shown.shape[1] == clean.channels
    assert torch.equal(shown[:, 3:], picture)
    torch.testing.assert_close(shown[:, :3], SPOILT / (s**2 + SPOILT**2) * residual)
    told = clean.labels(SIGMA, condition)
    assert torch.equal(told, labels(SIGMA / SPOILT, torch.ones(4), condition["spectrum"]))
    low, high = clean.sigma_range({"picture": picture[0], "spectrum": condition["spectrum"][0]})
    assert 0 < low < 0.5 * 2 / 255  # half a level of the input's 255, in model units
    assert high > 20 * 0.3  # where the state starts, noise drowns what is wrong with the worst inputs


def test_sampling_ends_at_the_input_outside_the_hole():
    _, clean, condition = inpainting()
    denoiser = tiny_denoiser(task="inpainting")
    items = [{name: value[i] for name, value in condition.items()} for i in range(4)]
    low, high = denoiser.conditioning.sigma_range(items[0])
    assert 0 < low < 0.01 < 1 < high
    frames = [FrameInput(randn(3, 16, 24, seed=i), item, start=item["picture"]) for i, item in enumerate(items)]
    states = sample(denoiser, frames, karras_sigmas(3, low, high), get_solver("euler"), make_guidance("none"))
    for state, picture, item in zip(states, clean, items, strict=True):
        known = (item["mask"] == 0).expand_as(state)
        # the state passes through values of the size of sigma_max, in float32
        torch.testing.assert_close(state[known], picture[known], rtol=0, atol=1e-4)


def test_a_batch_of_four_equals_four_of_one():
    u, _, condition = inpainting()
    denoiser = tiny_denoiser(task="inpainting")
    alone = [
        denoiser(u[i : i + 1], SIGMA[i : i + 1], {name: value[i : i + 1] for name, value in condition.items()})
        for i in range(4)
    ]
    # float32; a batch's convolutions may round otherwise than an item's
    torch.testing.assert_close(denoiser(u, SIGMA, condition), torch.cat(alone), rtol=0, atol=1e-5)
