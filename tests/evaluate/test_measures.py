from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from warped_diffusion.errors import ShapeError, UserError
from warped_diffusion.evaluate import MEASURES, Context, FrameMeasure, libraries
from warped_diffusion.flow import Motion

SIZE = (48, 56)
SLOPE = 0.004
"""Of ramps, per pixel: small enough to stay in [0, 1]."""

ROUNDING = 1e-12
SINGLE = 1e-6
"""Positions are in single precision: 1e-7 of 56 pixels, times the slope of a picture."""


def context(truth: Tensor, motion: Motion | None = None, **more: object) -> Context:
    motion = motion or Motion.analytic(len(truth), (truth.shape[-2], truth.shape[-1]))
    return Context(truth, truth, motion, "known")._replace(**more)


def values(name: str, restored: Tensor, of: Context) -> Tensor:
    measure = MEASURES[name]
    assert isinstance(measure, FrameMeasure)
    found = measure.values(restored, of)
    assert found.shape == (len(restored),)
    assert found.dtype == torch.float64
    return found


def ramp(frames: int, shift: float) -> Tensor:
    """A ramp that rises to the right and moves to the right by `shift` pixels a frame: (N, 3, H, W)."""
    x = torch.arange(SIZE[1], dtype=torch.float64) - shift * torch.arange(frames, dtype=torch.float64)[:, None]
    return (0.5 + SLOPE * x)[:, None, None, :].expand(-1, 3, SIZE[0], -1)


def waves(frames: int, shift: tuple[float, float]) -> Tensor:
    """Smooth waves that move by `shift` pixels a frame, exactly."""
    j = torch.arange(frames, dtype=torch.float64)[:, None, None]
    x = torch.arange(SIZE[1], dtype=torch.float64) - shift[0] * j
    y = torch.arange(SIZE[0], dtype=torch.float64)[:, None] - shift[1] * j
    grey = 0.5 + 0.25 * torch.sin(0.5 * x) * torch.cos(0.4 * y) + 0.1 * torch.sin(0.3 * x + 0.45 * y)
    return grey[:, None].expand(-1, 3, -1, -1)


def noisy_pair() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    truth = waves(3, (1.5, 0.5))
    return (truth + 0.1 * torch.randn(truth.shape, generator=generator).double()).clamp(0, 1), truth


def test_the_table_is_in_the_order_of_the_reports() -> None:
    assert list(MEASURES)[:8] == [
        *("mse", "psnr", "ssim", "lpips", "clip-text", "clip-image", "fid", "inception-score"),
    ]
    assert all(name == measure.name for name, measure in MEASURES.items())
    assert {measure.better for measure in MEASURES.values()} == {"higher", "lower", "none"}


def test_error_and_psnr_are_scikit_images() -> None:
    restored, truth = noisy_pair()
    found = values("psnr", restored, context(truth))
    expected = [
        peak_signal_noise_ratio(b.numpy(), a.numpy(), data_range=1.0) for a, b in zip(restored, truth, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=ROUNDING)
    mse = values("mse", restored, context(truth))
    np.testing.assert_allclose(mse, ((restored - truth).numpy() ** 2).mean((1, 2, 3)), rtol=ROUNDING)


def test_ssim_is_scikit_images() -> None:
    restored, truth = noisy_pair()
    found = values("ssim", restored, context(truth))
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected = [
        structural_similarity(b.numpy(), a.numpy(), data_range=1.0, channel_axis=0, **options)
        for a, b in zip(restored, truth, strict=True)
    ]
    np.testing.assert_allclose(found, expected, atol=SINGLE)
    assert values("ssim", truth, context(truth)).tolist() == pytest.approx([1, 1, 1])


def test_ssim_of_other_shapes_is_refused() -> None:
    truth = waves(2, (0, 0))
    with pytest.raises(ShapeError, match="give equal ones"):
        values("ssim", truth[:1], context(truth))


@pytest.mark.parametrize("reference", ["first", "previous"])
def test_a_known_motion_has_no_warping_error_but_the_rulers(reference: str) -> None:
    motion = Motion.analytic(4, SIZE, shift=(1.37, -0.61))
    found = values(f"warping-pixel-{reference}", clip := waves(4, (1.37, -0.61)), context(clip, motion))
    assert found[0].isnan()
    assert found[1:].max() < 2e-7  # squared error of a quintic spline, which is least exact along the frame's edges
    resting = context(clip, Motion.analytic(4, SIZE))
    assert values(f"warping-pixel-{reference}", clip, resting)[1:].min() > 5e-3


def test_a_flow_off_by_one_pixel_measures_the_slope() -> None:
    clip, motion = ramp(4, shift=2), Motion.analytic(4, SIZE, shift=(3, 0))
    previous = values("warping-pixel-previous", clip, context(clip, motion))
    np.testing.assert_allclose(previous[1:], SLOPE**2, rtol=SINGLE / SLOPE)
    first = values("warping-pixel-first", clip, context(clip, motion))
    np.testing.assert_allclose(first[1:], [(j * SLOPE) ** 2 for j in (1, 2, 3)], rtol=SINGLE / SLOPE)


def test_latents_are_compared_on_their_own_grid() -> None:
    """Averages of 4×4 pixels in [-1, 1] have twice the frames' slope, whatever the size of a cell."""
    clip, motion = ramp(4, shift=2), Motion.analytic(4, SIZE, shift=(3, 0))
    of = context(clip, motion, latents=lambda frames: F.avg_pool2d(frames, 4))
    previous = values("warping-latent-previous", clip, of)
    np.testing.assert_allclose(previous[1:], (2 * SLOPE) ** 2, rtol=SINGLE / SLOPE)
    first = values("warping-latent-first", clip, of)
    np.testing.assert_allclose(first[1:], [(2 * j * SLOPE) ** 2 for j in (1, 2, 3)], rtol=SINGLE / SLOPE)
    true = of._replace(motion=Motion.analytic(4, SIZE, shift=(2, 0)))
    assert values("warping-latent-first", clip, true)[1:].max() < SINGLE**2


def test_flicker_is_what_the_true_clip_does_not_have_where_it_is_seen() -> None:
    levels, own = torch.tensor([0.2, 0.5, 0.4]), torch.tensor([0.3, 0.4, 0.4])
    restored, truth = (x.double()[:, None, None, None].expand(-1, 3, *SIZE).clone() for x in (levels, own))
    still = Motion.analytic(3, SIZE)
    expected = [0.3**2 - 0.1**2, 0.1**2]
    found = values("flicker", restored, context(truth, still))
    assert found[0].isnan()
    np.testing.assert_allclose(found[1:], expected, atol=SINGLE)

    visible = torch.ones(2, *SIZE)
    visible[..., : SIZE[1] // 2] = 0
    restored[1, ..., : SIZE[1] // 2] = 1.0  # where nothing is compared
    halved = Motion(still.forward, still.backward, visible)
    np.testing.assert_allclose(values("flicker", restored, context(truth, halved))[1:], expected, atol=SINGLE)


def test_nothing_is_compared_across_a_cut() -> None:
    clip = waves(4, (0, 0))
    still = Motion.analytic(4, SIZE)
    cut = Motion(still.forward, still.backward, still.visible, cuts=(2,))
    for name in ("warping-pixel-first", "warping-pixel-previous", "flicker"):
        assert values(name, clip, context(clip, cut)).isnan().tolist() == [True, False, True, False]
    assert values("sharpness-drift", clip, context(clip, cut)).isnan().tolist() == [True, False, True, False]


def test_sharpness_drift_is_the_last_frames_energy_over_the_firsts() -> None:
    noise = torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(0)).double()
    gains = torch.tensor([1.0, 3.0, 1.5]).double()
    restored = 0.5 + 0.05 * gains[:, None, None, None] * noise
    sharpness = values("sharpness", restored, context(restored))
    np.testing.assert_allclose(sharpness / sharpness[0], gains**2, rtol=1e-9)
    drift = values("sharpness-drift", restored, context(restored))
    assert drift[:2].isnan().all()
    assert float(drift[2]) == pytest.approx(1.5**2)

    still = Motion.analytic(3, SIZE)
    shots = Motion(still.forward, still.backward, still.visible, cuts=(1,))
    drift = values("sharpness-drift", restored, context(restored, shots))
    assert drift[:2].isnan().all()
    assert float(drift[2]) == pytest.approx((1.5 / 3) ** 2)  # of its own shot


@pytest.mark.parametrize("name", ["warping-latent-first", "warping-latent-previous", "clip-text"])
def test_what_the_clip_lacks_is_said(name: str) -> None:
    of = context(clip := waves(2, (0, 0)))
    lack = MEASURES[name].missing(of)
    assert lack is not None
    assert "give" in lack
    with pytest.raises(UserError, match=lack):
        values(name, clip, of)


def test_a_module_that_cannot_be_imported_is_named_with_the_extra() -> None:
    with pytest.raises(UserError, match=r'SSIM needs no_such_module, .*pip install "warped-diffusion\[metrics\]"'):
        libraries.load("no_such_module", "SSIM")


def test_a_module_that_fails_half_way_stays_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Python keeps the parts that were imported before the failure: a second attempt would find one of them."""
    package = tmp_path / "half_there"
    package.mkdir()
    (package / "__init__.py").write_text("import half_there.part\nraise RuntimeError('no such operator')")
    (package / "part.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    for _ in range(2):
        with pytest.raises(UserError, match=r"SSIM needs half_there, which cannot be imported here \(no such operator"):
            libraries.load("half_there.part", "SSIM")
