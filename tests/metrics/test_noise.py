"""Measures of noise against closed forms, independent slow versions and fields made to have a known coherence."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy import stats

from warped_diffusion.errors import ShapeError, UserError
from warped_diffusion.flow import identity_map
from warped_diffusion.metrics import (
    band_limited,
    coherence,
    coherence_reference,
    flatness_error,
    ks_distance,
    neighbour_correlation,
    spectral_flatness,
    spectrum_distance,
    tiles,
    variance,
    whitened_flatness,
)
from warped_diffusion.metrics.noise import expected_periodogram
from warped_diffusion.noise import GaussianField, get_spectrum

EXACT = {"rtol": 1e-10, "atol": 1e-10}  # float64 rounding, transforms included
SIZE = (112, 128)
EDGE = 0.006  # what pixels beyond a frame of SIZE cost a coherence of 1: see the test of a half-pixel shift
SIGMAS = 4
QUADRATURE = 1e-3  # promised by coherence_reference
COLOURED = get_spectrum("squared-exponential")


def independent(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def linear(matrix, size=SIZE):
    """The map c + A (x - c) about the frame's centre, float64."""
    centre = torch.tensor([(size[1] - 1) / 2, (size[0] - 1) / 2], dtype=torch.float64)
    return (identity_map(*size, dtype=torch.float64) - centre) @ torch.tensor(matrix).double().T + centre


def turned(degrees, size=SIZE):
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return linear([[cos, -sin], [sin, cos]], size)


def zoomed(scale, size=SIZE):
    return linear([[scale, 0.0], [0.0, scale]], size)


@dataclass(frozen=True, eq=False)
class Band:
    """White noise of which only the frequencies J⁻ᵀk or, for the rest, none of them, that `keep` says are left."""

    linear: tuple[tuple[float, float], tuple[float, float]]
    inside: bool = True
    name: str = "band"

    def density(self, kx, ky):
        kx, ky = torch.broadcast_tensors(kx, ky)
        moved = torch.stack([kx, ky], -1) @ torch.tensor(self.linear).double().T
        kept = (moved.abs() <= math.pi).all(-1)
        return torch.where(kept if self.inside else ~kept, 1.0, 0.0).double()


def test_independent_noise_has_the_figures_and_the_standard_errors_that_are_stated():
    frames = independent(200, 4, 48, 64)
    values, pairs, count = 4 * 48 * 64, 4 * (48 * 63 + 47 * 64), len(frames)
    expected = {
        variance: (1, math.sqrt(2 / values)),
        neighbour_correlation: (0, 1 / math.sqrt(pairs)),
        ks_distance: (0.87 / math.sqrt(values), 0.26 / math.sqrt(values)),
        spectrum_distance: (0, flatness_error(4, (48, 64))),
    }
    for measure, (mean, error) in expected.items():
        found = measure(frames)
        assert found.mean().item() == pytest.approx(mean, abs=SIGMAS * error / math.sqrt(count) + 2e-5), measure
        assert found.std().item() == pytest.approx(error, rel=SIGMAS / math.sqrt(2 * count)), measure
    torch.testing.assert_close(whitened_flatness(frames), spectral_flatness(frames), **EXACT)
    assert spectral_flatness(frames).std().item() == pytest.approx(
        flatness_error(4, (48, 64)), rel=SIGMAS / math.sqrt(2 * count)
    )


def test_neighbour_correlation_against_a_loop():
    frame = independent(2, 4, 5).double()
    horizontal = [frame[c, y, x] * frame[c, y, x + 1] for c in range(2) for y in range(4) for x in range(4)]
    vertical = [frame[c, y, x] * frame[c, y + 1, x] for c in range(2) for y in range(3) for x in range(5)]
    expected = torch.stack(horizontal + vertical).mean() / frame.square().mean()
    torch.testing.assert_close(neighbour_correlation(frame), expected, **EXACT)


def test_neighbour_correlation_of_a_filter_is_its_closed_form():
    noise = independent(4, 256, 256)
    smooth = noise[..., 1:] + 0.5 * noise[..., :-1]  # correlation 0.5/1.25 across, none down
    assert neighbour_correlation(smooth).item() == pytest.approx(0.2, abs=SIGMAS / math.sqrt(2 * smooth.numel()))
    y, x = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    assert neighbour_correlation(((-1.0) ** (x + y))[None]).item() == pytest.approx(-1)


def test_ks_distance_against_scipy():
    for values in (independent(2, 9, 11), torch.rand(2, 9, 11) * 12**0.5 - 3**0.5, torch.full((1, 2, 2), 3.0)):
        expected = stats.kstest(values.double().flatten().numpy(), "norm").statistic
        assert ks_distance(values).item() == pytest.approx(expected, abs=1e-12)


def test_expected_periodogram_against_the_covariance_of_all_pairs_of_pixels():
    size = (5, 8)
    grid = identity_map(*size, dtype=torch.float64).reshape(-1, 2)
    apart = grid[:, None] - grid[None]
    covariance = COLOURED.kernel(apart[..., 0], apart[..., 1]).numpy()
    waves = np.fft.fft2(np.eye(40).reshape(40, *size)).reshape(40, 40).T  # column: the transform of one pixel
    expected = np.einsum("ki,ij,kj->k", waves, covariance, waves.conj()).real.reshape(size) / 40
    # The density's kink at Nyquist gives its covariance a long tail, which a few times finer frequencies fold.
    np.testing.assert_allclose(expected_periodogram(COLOURED.density, size).numpy(), expected, rtol=5e-3)
    torch.testing.assert_close(
        expected_periodogram(get_spectrum("white").density, size), torch.ones(size).double(), **EXACT
    )


def test_a_field_of_the_target_spectrum_is_as_good_as_white():
    fields = torch.stack([GaussianField(4, (96, 96), COLOURED, seed=seed).grid() for seed in range(12)])
    for measure, perfect in ((whitened_flatness, 1), (spectrum_distance, 0)):
        found = measure(fields, COLOURED.density)
        # Beside the standard error, an expectation that ignores how frequencies of a cut frame depend on each other.
        assert found.mean().item() == pytest.approx(perfect, abs=SIGMAS * flatness_error(4, (96, 96)) / 12**0.5 + 1e-3)
    small = tiles(fields, 32)
    found = whitened_flatness(small, COLOURED.density)
    assert found.mean().item() == pytest.approx(
        1, abs=SIGMAS * flatness_error(4, (32, 32)) / found.numel() ** 0.5 + 2e-3
    )


def test_noise_of_another_spectrum_falls_short_by_the_closed_form():
    white = independent(40, 4, 64, 64)
    ratio = 1 / expected_periodogram(COLOURED.density, (64, 64))
    flatness = ratio.log().mean().exp() / ratio.mean()
    distance = (ratio - ratio.log() - 1).mean()
    assert flatness < 0.9
    # The mean of 40 frames: their standard error, the colouring's unequal weights allowed for by a factor of 2.
    error = 2 * SIGMAS * flatness_error(4, (64, 64)) / 40**0.5
    assert whitened_flatness(white, COLOURED.density).mean().item() == pytest.approx(flatness.item(), abs=error)
    assert spectrum_distance(white, COLOURED.density).mean().item() == pytest.approx(distance.item(), abs=5 * error)


def test_distance_tells_a_wrong_level_and_flatness_does_not():
    noise = independent(4, 32, 32).double()
    torch.testing.assert_close(whitened_flatness(1.2 * noise), whitened_flatness(noise), **EXACT)
    gained = spectrum_distance(1.2 * noise) - spectrum_distance(noise)
    torch.testing.assert_close(gained, 0.44 * variance(noise) - math.log(1.44), **EXACT)


def test_tiles_are_squares_of_the_frame_in_order():
    frame = torch.arange(2 * 9 * 13.0).reshape(2, 9, 13)
    cut = tiles(frame, 4)
    assert cut.shape == (6, 2, 4, 4)  # 2 x 3 of them, the middle of 9 x 13
    torch.testing.assert_close(cut[0], frame[:, 0:4, 0:4])
    torch.testing.assert_close(cut[5], frame[:, 4:8, 8:12])
    torch.testing.assert_close(tiles(frame[None].expand(3, -1, -1, -1), 4)[1], cut)


def test_a_batch_equals_its_items():
    frames = independent(2, 3, 2, 12, 15)
    for measure in (variance, neighbour_correlation, ks_distance, whitened_flatness, spectrum_distance):
        together = measure(frames)
        assert together.shape == (2, 3)
        torch.testing.assert_close(together[1, 2], measure(frames[1, 2]), **EXACT)


def test_band_limited_reading_gives_pixels_and_waves_back():
    frame = independent(3, 20, 17)
    torch.testing.assert_close(band_limited(frame, identity_map(20, 17)).float(), frame, rtol=0, atol=1e-6)
    # A slow wave that fades before the edges is the function through its own pixels.
    where = identity_map(40, 40, dtype=torch.float64)
    packet = lambda P: torch.cos(P @ torch.tensor([0.9, -0.5]).double()) * torch.exp(-(P - 20).square().sum(-1) / 50)  # noqa: E731
    between = where[4:-4, 4:-4] + torch.tensor([0.5, 0.31])
    torch.testing.assert_close(band_limited(packet(where)[None], between)[0], packet(between), rtol=0, atol=1e-4)


def test_coherence_of_a_frame_with_itself_its_negative_and_a_mixture():
    noise, other = independent(2, 4, *SIZE)
    here = identity_map(*SIZE)
    assert coherence(noise, noise, here) == pytest.approx(1, abs=1e-12)
    assert coherence(noise, -3 * noise, here) == pytest.approx(-1, abs=1e-12)
    error = 1 / math.sqrt(4 * (SIZE[0] - 32) * (SIZE[1] - 32))  # as many independent values as pixels are compared
    assert abs(coherence(noise, other, here)) < SIGMAS * error
    assert abs(coherence(noise, other, turned(20))) < SIGMAS * error
    assert coherence(noise, 0.6 * noise + 0.8 * other, here) == pytest.approx(0.6, abs=SIGMAS * error)


@pytest.mark.parametrize("spectrum", ["white", "squared-exponential"])
@pytest.mark.parametrize("size", [SIZE, (113, 127)])
def test_a_field_shifted_by_half_a_pixel_is_wholly_coherent_but_for_the_edges(spectrum, size):
    field = GaussianField(4, size, spectrum)
    there = identity_map(*size) + 0.5
    found = coherence(field.grid(), field(there), there)
    assert 1 - EDGE < found < 1
    assert 1 - EDGE < coherence_reference(there, get_spectrum(spectrum).density) <= 1 + QUADRATURE


def test_coherence_of_a_zoom_in_with_its_fine_grain_made_up_is_one_over_the_scale():
    """n_j = ξ(x/s)/s, whose band is π/s, and independent noise above: as white as can be, and c = 1/s."""
    s, there = 1.6, zoomed(1 / 1.6)
    field = GaussianField(4, SIZE)
    above = Band(((s, 0.0), (0.0, s)), inside=False)
    last = field(there.float()) / s + math.sqrt(1 - 1 / s**2) * GaussianField(4, SIZE, above, seed=1).grid()
    assert whitened_flatness(last).item() == pytest.approx(1, abs=SIGMAS * flatness_error(4, SIZE))
    assert coherence(field.grid(), last, there) == pytest.approx(1 / s, abs=0.01)  # EDGE and a standard error of 0.003


def test_coherence_of_a_zoom_out_without_what_the_screen_cannot_hold_is_one_over_the_scale():
    """n_j = s·ξ_low(s·x), ξ_low the band up to π/s of ξ, which fills the screen's: c = 1/s."""
    s, there = 1.6, zoomed(1.6)
    low = GaussianField(4, SIZE, Band(((s, 0.0), (0.0, s))))  # of unit variance already
    found = coherence(GaussianField(4, SIZE).grid(), low(there.float()), there)
    assert found == pytest.approx(1 / s, abs=0.015)  # a third of the pixels: the standard error is 0.005


def test_coherence_of_a_rotation_with_its_corners_made_up_is_the_bands_overlap():
    """n_j = √A·ξ_A(R·x) and independent noise in the corners, A the share of a square that a turned one covers."""
    degrees, there = 30, turned(30)
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    overlap = 2 / (1 + sin + cos)
    rotation = ((cos, -sin), (sin, cos))
    held = Band(((cos, sin), (-sin, cos)))  # of the first frame's waves k those whose Rᵀk is on the screen
    corners = Band(rotation, inside=False)
    last = math.sqrt(overlap) * GaussianField(4, SIZE, held)(there.float())
    last += math.sqrt(1 - overlap) * GaussianField(4, SIZE, corners, seed=1).grid()
    assert whitened_flatness(last).item() == pytest.approx(1, abs=SIGMAS * flatness_error(4, SIZE))
    assert coherence(GaussianField(4, SIZE).grid(), last, there) == pytest.approx(overlap, abs=0.01)


@pytest.mark.parametrize("scale", [1.0, 1.05, 1.6, 2.0, 1 / 1.6, 1 / 1.05])
def test_reference_of_a_zoom(scale):
    assert coherence_reference(zoomed(scale, (72, 80))) == pytest.approx(min(scale, 1 / scale), abs=QUADRATURE)


@pytest.mark.parametrize("degrees", [1, 15, 30, 45, 90])
def test_reference_of_a_rotation(degrees):
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    assert coherence_reference(turned(degrees)) == pytest.approx(2 / (1 + sin + cos), abs=QUADRATURE)


def test_reference_of_shear_mirror_and_collapse():
    assert coherence_reference(linear([[1.0, 0.3], [0.0, 1.0]])) == pytest.approx(0.925, abs=QUADRATURE)
    assert coherence_reference(linear([[-1.0, 0.0], [0.0, 1.0]])) == pytest.approx(1, abs=QUADRATURE)
    assert coherence_reference(zoomed(0.0)) == 0


@pytest.mark.parametrize("matrix", [[[1.4, 0.5], [-0.2, 0.8]], [[0.6, 0.1], [0.5, 0.9]]])
def test_reference_of_any_linear_map_is_the_share_of_waves_that_both_frames_hold(matrix):
    """A wave q of the first frame, exp(i q·J x), is on the screen the wave k with k·x = q·J x."""
    q = (torch.rand(2_000_000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1) * math.pi
    J = torch.tensor(matrix).double()
    k = torch.stack([(q * J[:, 0]).sum(-1), (q * J[:, 1]).sum(-1)], -1)  # what q·J x grows by along x and along y
    share = (k.abs() <= math.pi).all(-1).double().mean() * torch.linalg.det(J).abs().sqrt()
    assert coherence_reference(linear(matrix)) == pytest.approx(share.item(), abs=2 * QUADRATURE)


@pytest.mark.parametrize("scale", [1.6, 1 / 1.6])
def test_reference_of_a_coloured_spectrum_under_zoom_is_a_product_of_integrals(scale):
    k = torch.linspace(-math.pi, math.pi, 200_001, dtype=torch.float64)
    there = torch.where((k / scale).abs() <= math.pi, COLOURED.profile(k / scale), 0) / scale
    along = torch.trapezoid((COLOURED.profile(k) * there).sqrt(), k)
    found = coherence_reference(zoomed(scale), COLOURED.density)
    assert found == pytest.approx(along.square().item(), abs=QUADRATURE)
    assert coherence_reference(zoomed(scale), density=COLOURED.density) == found
    mixed = coherence_reference(zoomed(scale), density0=COLOURED.density, density=get_spectrum("white").density)
    assert mixed != found


def test_places_without_weight_do_not_count():
    noise, other = independent(2, 4, *SIZE)
    known = torch.zeros(SIZE)
    known[:, 60:] = 1
    torn = torch.where(known == 1, noise, other)
    here = identity_map(*SIZE)
    # Both are read as functions, which feel the tear beside them: a little is lost there.
    assert coherence(noise, torn, here, known) > 0.98
    assert coherence(noise, torn, here) < 0.8
    halves = torch.where(known[..., None] == 1, zoomed(1.6), identity_map(*SIZE).double())
    left = 1 - known
    left[:, 58:] = 0  # the derivative is taken across the seam
    assert coherence_reference(halves, weight=left) == pytest.approx(1, abs=QUADRATURE)


def test_nothing_to_compare_is_nan():
    far = identity_map(*SIZE) + 1000
    noise = independent(1, *SIZE)
    assert math.isnan(coherence(noise, noise, far))
    assert math.isnan(coherence_reference(far))
    assert math.isnan(coherence(noise, noise, identity_map(*SIZE), torch.zeros(SIZE)))
    assert math.isnan(coherence(noise[:, :20, :20], noise[:, :20, :20], identity_map(20, 20)))  # all margin


def test_errors_name_the_shapes():
    noise = torch.zeros(2, 40, 40)
    with pytest.raises(ShapeError, match=r"positions \(40, 41, 2\)"):
        coherence(noise, noise, identity_map(40, 41))
    with pytest.raises(ShapeError, match=r"weight is \(3, 3\)"):
        coherence(noise, noise, identity_map(40, 40), torch.ones(3, 3))
    with pytest.raises(UserError, match="not finite"):
        coherence(noise, noise, identity_map(40, 40) * math.nan)
    with pytest.raises(ShapeError, match="smaller side"):
        tiles(noise, 41)
    for measure in (variance, neighbour_correlation, ks_distance, lambda n: tiles(n, 2)):
        with pytest.raises(ShapeError, match=r"\(40, 40\)"):
            measure(noise[0])
