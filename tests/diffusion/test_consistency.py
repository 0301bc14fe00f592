"""Operators against their adjoints and dense matrices, projections against dense solves and a Gaussian's posterior."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from tests.diffusion.toy import ToyDenoiser, randn
from warped_diffusion.diffusion import (
    AreaAverage,
    Blur,
    Consistent,
    FrameInput,
    Mask,
    conjugate_gradients,
    get_solver,
    karras_sigmas,
    make_guidance,
    project,
    sample,
    some_levels,
)
from warped_diffusion.errors import ShapeError, UserError

BATCH, CHANNELS, HEIGHT, WIDTH = 3, 2, 8, 12
EXACT = {"rtol": 1e-12, "atol": 1e-12}  # rounding in double precision
# Conjugate gradients end at a residual of e = 1e-5 |b|, and A^T (A A^T + ratio)^-1 makes at most e / (2 sqrt(ratio)) of
# it: 6e-4 for the 192 values of a frame and the smallest ratio here, were it all in one place.
SOLVED = {"rtol": 0, "atol": 6e-4}

KNOWN = (randn(BATCH, 1, HEIGHT, WIDTH, seed=9) > -0.3).double()
OPERATORS = {
    "area average": AreaAverage(4),
    "mask": Mask(KNOWN),
    "soft mask": Mask(KNOWN * randn(BATCH, 1, HEIGHT, WIDTH, seed=10).sigmoid()),
    "blur": Blur(0.8),
    "blur wider than the frame": Blur(3.0),
}
each = pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS.keys())
S, D = 0.4, 1.3  # deviations of pictures and, other than that, of what a denoiser makes


class Dense:
    """The operator without what it says of A A^T, so that conjugate gradients have to do."""

    gram = None

    def __init__(self, operator):
        self.apply, self.adjoint = operator.apply, operator.adjoint


def matrices(operator) -> Tensor:
    """A of every item as a matrix, for one channel: (B, h w, H W)."""
    units = torch.eye(HEIGHT * WIDTH, dtype=torch.float64).reshape(-1, 1, HEIGHT, WIDTH)
    images = [operator.apply(unit.expand(BATCH, 1, -1, -1)).flatten(1) for unit in units]
    return torch.stack(images, -1)


def solved(operator, x, y, ratio):
    """x + A^T (A A^T + ratio)^-1 (y - A x), by dense algebra."""
    A = matrices(operator)
    gram = A @ A.mT + ratio[:, None, None] * torch.eye(A.shape[1], dtype=A.dtype)
    residual = y.flatten(2).mT - A @ x.flatten(2).mT
    return x + (A.mT @ torch.linalg.solve(gram, residual)).mT.reshape(x.shape)


@each
def test_adjoints(operator):
    x = randn(BATCH, CHANNELS, HEIGHT, WIDTH, seed=0)
    Ax = operator.apply(x)
    y = randn(*Ax.shape, seed=1)
    left, right = ((a * b).flatten(1).sum(1) for a, b in ((Ax, y), (x, operator.adjoint(y))))
    torch.testing.assert_close(left, right, **EXACT)


@each
def test_what_operators_say_of_their_gram(operator):
    A = matrices(operator)
    gram = A @ A.mT
    if operator.gram is None:
        assert (gram - torch.diag_embed(gram.diagonal(dim1=1, dim2=2))).abs().max() > 0.01
        return
    diagonal = torch.as_tensor(operator.gram, dtype=torch.float64).expand(BATCH, 1, *operator_size(operator))
    torch.testing.assert_close(gram, torch.diag_embed(diagonal.flatten(1)), **EXACT)


def operator_size(operator):
    return operator.apply(torch.zeros(BATCH, 1, HEIGHT, WIDTH, dtype=torch.float64)).shape[-2:]


def test_area_average_is_the_mean_of_every_block():
    x = randn(1, 2, 4, 6, seed=0)
    low = AreaAverage(2).apply(x)
    torch.testing.assert_close(low[0, 1, 1, 2], x[0, 1, 2:4, 4:6].mean())
    with pytest.raises(ShapeError, match="7x6, which blocks of 2x2 do not fill"):
        AreaAverage(2).apply(torch.zeros(1, 1, 6, 7))


def test_blurs_are_gaussians_that_keep_the_mean():
    """In the middle of a large frame a point becomes the sampled density; a variance of s^2, to the cut-off tails."""
    deviation, point = 1.7, torch.zeros(1, 1, 41, 41, dtype=torch.float64)
    point[..., 20, 20] = 1
    image = Blur(deviation).apply(point)[0, 0]
    t = torch.arange(41.0, dtype=torch.float64) - 20
    assert float((image.sum(0) * t**2).sum()) == pytest.approx(deviation**2, rel=1e-3)
    density = torch.exp(-(t**2) / (2 * deviation**2)) / (deviation * (2 * torch.pi) ** 0.5)
    torch.testing.assert_close(image, density[:, None] * density, rtol=0, atol=1e-4)
    x = randn(1, 2, 9, 5, seed=2)
    torch.testing.assert_close(Blur(deviation).apply(x).sum(), x.sum(), **EXACT)
    torch.testing.assert_close(Blur(deviation).apply(torch.ones_like(x)), torch.ones_like(x), **EXACT)


@each
@pytest.mark.parametrize("by_hand", [False, True], ids=["as it is", "conjugate gradients"])
def test_projections_equal_dense_solves(operator, by_hand):
    x = randn(BATCH, CHANNELS, HEIGHT, WIDTH, seed=0)
    y = operator.apply(randn(*x.shape, seed=1)) + 0.1 * randn(1, seed=2)
    ratio = torch.tensor([0.02, 0.3, 40.0], dtype=torch.float64)
    projected = project(x, y, Dense(operator) if by_hand else operator, ratio)
    exact = not by_hand and operator.gram is not None
    torch.testing.assert_close(projected, solved(operator, x, y, ratio), **(EXACT if exact else SOLVED))


@pytest.mark.parametrize("name", ["area average", "mask"])
def test_without_noise_the_measurement_is_met_and_the_rest_stays(name):
    operator, x = OPERATORS[name], randn(BATCH, CHANNELS, HEIGHT, WIDTH, seed=0)
    y = operator.apply(randn(*x.shape, seed=1))
    projected = project(x, y, operator, torch.zeros(BATCH, dtype=torch.float64))
    torch.testing.assert_close(operator.apply(projected), y, **EXACT)
    # what changed lies in the range of A^T: nothing that A does not see
    change = projected - x
    shown = operator.adjoint(operator.apply(change)) * (16 if name == "area average" else 1)
    torch.testing.assert_close(shown, change, **EXACT)


def test_what_is_measured_in_a_hole_is_not_looked_at():
    x, y = randn(2, BATCH, CHANNELS, HEIGHT, WIDTH, seed=0)
    for ratio in (0.0, 0.5):
        projected = project(x, y, OPERATORS["mask"], torch.full((BATCH,), ratio, dtype=torch.float64))
        hole = (KNOWN == 0).expand_as(x)
        assert torch.equal(projected[hole], x[hole])


def test_conjugate_gradients_end_item_by_item():
    """An item in a batch with harder ones is what it would be alone; a right-hand side of zeros is no trouble."""
    A = randn(3, 10, 10, seed=4)
    A = A @ A.mT + torch.tensor([100.0, 1.0, 1.0], dtype=torch.float64)[:, None, None] * torch.eye(10)
    b = randn(3, 10, seed=5)
    b[2] = 0

    def matrix(items):
        return lambda v: (A[items] @ v[..., None])[..., 0]

    everything = conjugate_gradients(matrix(slice(None)), b)
    for item in range(3):
        alone = conjugate_gradients(matrix(slice(item, item + 1)), b[item : item + 1])
        torch.testing.assert_close(everything[item : item + 1], alone, **EXACT)
        residual = matrix(slice(item, item + 1))(alone) - b[item]
        assert residual.norm() <= 1.01e-5 * b[item].norm()
    assert not everything[2].any()
    # ten unknowns take ten iterations, and no fewer
    exact = torch.linalg.solve(A, b)
    torch.testing.assert_close(conjugate_gradients(matrix(slice(None)), b, 12, 1e-14), exact, rtol=0, atol=1e-10)
    assert (conjugate_gradients(matrix(slice(None)), b, 3) - exact)[1].abs().max() > 1e-4


def gaussian(mean: Tensor, deviation: float):
    """E[x given u] of white noise about a mean picture: a model that is exact."""

    def denoiser(noisy, sigma, condition):
        share = (deviation**2 / (deviation**2 + sigma**2))[:, None, None, None]
        return mean + share * (noisy - mean)

    return denoiser


@each
@pytest.mark.parametrize("noise", [0.05, 0.5])
def test_it_is_the_posterior_mean_of_a_gaussian(operator, noise):
    """E[x given u and y]: the precisions of picture, noisy state and measurement add up."""
    mean = randn(CHANNELS, HEIGHT, WIDTH, seed=3)
    u = randn(BATCH, CHANNELS, HEIGHT, WIDTH, seed=4)
    y = operator.apply(randn(*u.shape, seed=5))
    sigma = torch.tensor([0.1, 1.0, 7.0], dtype=torch.float64)
    consistent = Consistent(gaussian(mean, S), lambda _: operator, noise=noise, spread=S)
    found = consistent(u, sigma, {"measurement": y})

    A = matrices(operator)
    eye = torch.eye(HEIGHT * WIDTH, dtype=torch.float64)
    precision = A.mT @ A / noise**2 + (1 / sigma**2 + 1 / S**2)[:, None, None] * eye
    told = (u / sigma[:, None, None, None] ** 2 + mean / S**2).flatten(2).mT + A.mT @ y.flatten(2).mT / noise**2
    expected = torch.linalg.solve(precision, told).mT.reshape(u.shape)
    torch.testing.assert_close(found, expected, **SOLVED)


def test_samples_of_a_gaussian_are_its_posterior():
    """Sampling maps the first noise linearly; what a measurement of means leaves open is S^2 (1 - A^T A f^2)."""
    side, f, truth = 8, 4, S * randn(1, 1, 8, 8, seed=6)
    operator = AreaAverage(f)
    y = operator.apply(truth)
    denoiser = Consistent(gaussian(torch.zeros(1, side, side, dtype=torch.float64), S), lambda _: operator, spread=S)
    noises = [torch.zeros(1, side, side, dtype=torch.float64)]
    noises += list(torch.eye(side * side, dtype=torch.float64).reshape(-1, 1, side, side))
    frames = [FrameInput(noise, {"measurement": y[0]}) for noise in noises]
    sigmas = karras_sigmas(60, S / 1000, S * 100)
    clip = torch.stack(list(sample(denoiser, frames, sigmas, get_solver("dpmpp-2m"), make_guidance("none"), 65)))
    columns = (clip[1:] - clip[0]).flatten(1).mT
    blocks = matrices_of_means(side, f)
    covariance = S**2 * (torch.eye(side * side) - f**2 * blocks.mT @ blocks)
    # the solver is of second order: 60 steps keep the variance to a percent
    torch.testing.assert_close(columns @ columns.mT, covariance, rtol=0, atol=0.01 * S**2)
    torch.testing.assert_close(operator.apply(clip[1:]), y.expand(64, -1, -1, -1), **EXACT)
    torch.testing.assert_close(clip[:1], operator.adjoint(y) * f**2, rtol=0, atol=1e-3)


def matrices_of_means(side, f):
    units = torch.eye(side * side, dtype=torch.float64).reshape(-1, 1, side, side)
    return AreaAverage(f).apply(units).flatten(1).mT


def toy_condition(noise_seed=7):
    return {
        "picture": randn(BATCH, 1, HEIGHT, WIDTH, seed=noise_seed),
        "mask": 1 - KNOWN,
        "measurement": KNOWN * randn(BATCH, CHANNELS, HEIGHT, WIDTH, seed=noise_seed + 1),
    }


@pytest.mark.parametrize("make", [lambda c: Mask(1 - c["mask"]), lambda c: Blur(0.8)], ids=["mask", "blur"])
def test_a_batch_equals_its_items(make):
    consistent = Consistent(ToyDenoiser(), make, noise=0.1)
    u, sigma, condition = randn(BATCH, CHANNELS, HEIGHT, WIDTH, seed=0), randn(BATCH, seed=1).exp(), toy_condition()
    together = consistent(u, sigma, condition)
    for item in range(BATCH):
        one = slice(item, item + 1)
        alone = consistent(u[one], sigma[one], {name: value[one] for name, value in condition.items()})
        torch.testing.assert_close(together[one], alone, **EXACT)


def test_guidance_goes_back_through_it():
    """Network guidance differentiates what it is given; the projection is linear in the estimate."""
    u, sigma = randn(1, CHANNELS, HEIGHT, WIDTH, seed=0).requires_grad_(), torch.tensor([0.7], dtype=torch.float64)
    y = randn(1, CHANNELS, 2, 3, seed=1)
    direction = randn(1, CHANNELS, HEIGHT, WIDTH, seed=2)
    toy, condition = ToyDenoiser(), {"picture": randn(1, 1, HEIGHT, WIDTH, seed=3), "measurement": y}
    h = Consistent(toy, lambda _: AreaAverage(4))(u, sigma, condition)
    (back,) = torch.autograd.grad(h, u, direction)
    free = direction - 16 * AreaAverage(4).adjoint(AreaAverage(4).apply(direction))
    (expected,) = torch.autograd.grad(toy(u, sigma, condition), u, free)
    torch.testing.assert_close(back, expected, **EXACT)


LOW_HEIGHT, LOW_WIDTH = HEIGHT // 2, WIDTH // 2
MIX = torch.linalg.qr(randn(4 * CHANNELS, 4 * CHANNELS, seed=8))[0]


def encode(pictures):
    """Pixels of 2 x 2 become channels, which an orthogonal matrix mixes; latents are D / S times as large."""
    unshuffled = torch.nn.functional.pixel_unshuffle(pictures, 2)
    return D / S * torch.einsum("ij,bjhw->bihw", MIX, unshuffled)


def decode(latents):
    return torch.nn.functional.pixel_shuffle(torch.einsum("ji,bjhw->bihw", MIX, latents) * S / D, 2)


@dataclass(frozen=True)
class Coded:
    """A codec of those two."""

    decode: Callable[[Tensor], Tensor] = decode
    encode: Callable[[Tensor], Tensor] = encode
    factor: int = 2
    channels: int = 4 * CHANNELS


def in_latents(noisy, sigma, condition):
    """The toy denoiser, as a model of latents: its noise is D / S times as large, too."""
    return encode(ToyDenoiser()(decode(noisy), sigma * S / D, condition))


@pytest.mark.parametrize("make", [lambda c: Mask(1 - c["mask"]), lambda c: Blur(0.8)], ids=["mask", "blur"])
def test_with_an_orthogonal_codec_it_is_the_solution_in_pixels(make):
    u, sigma, condition = randn(BATCH, CHANNELS, HEIGHT, WIDTH, seed=0), randn(BATCH, seed=1).exp(), toy_condition()
    pixels = Consistent(ToyDenoiser(), make, noise=0.1, spread=S)(u, sigma, condition)
    latent = Consistent(in_latents, make, noise=0.1, spread=S, unit=D, codec=Coded())
    found = latent(encode(u), sigma * D / S, condition)
    torch.testing.assert_close(decode(found), pixels, **SOLVED)


def test_levels_say_where_it_acts_item_by_item():
    """Items that stand elsewhere are the denoiser's own to the last bit, and are not decoded."""
    decoded = []

    def counted(latents):
        decoded.append(len(latents))
        return decode(latents)

    sigmas = karras_sigmas(7, 0.02, 5.0)
    levels = some_levels(sigmas, 3)
    latent = Consistent(
        in_latents, lambda c: Mask(1 - c["mask"]), spread=S, unit=D, codec=Coded(counted), levels=levels
    )
    u, condition = encode(randn(BATCH, CHANNELS, HEIGHT, WIDTH, seed=0)), toy_condition()
    sigma = sigmas[[2, 3, 4]].float().double()  # as a sampler in single precision asks
    found = latent(u, sigma, condition)
    free = in_latents(u, sigma, condition)
    acts = latent.acts(sigma)
    assert acts.tolist() == [float(s) in levels for s in sigmas[[2, 3, 4]]]
    assert 0 < acts.sum() < BATCH
    assert torch.equal(found[~acts], free[~acts])
    assert decoded == [int(acts.sum())]
    met = condition["mask"] * decode(found) + condition["measurement"]
    torch.testing.assert_close(decode(found)[acts], met[acts], **EXACT)


def test_a_lossy_codec_does_not_wear_out_an_estimate_that_agrees():
    """Decoding and encoding loses a tenth here; where nothing is to be corrected nothing changes."""
    operator = AreaAverage(4)
    latents = randn(2, 4 * CHANNELS, LOW_HEIGHT, LOW_WIDTH, seed=0)
    y = operator.apply(decode(latents))
    codec = Coded(encode=lambda x: 0.9 * encode(x))
    consistent = Consistent(lambda noisy, sigma, condition: latents, lambda _: operator, codec=codec)
    found = consistent(latents, torch.ones(2, dtype=torch.float64), {"measurement": y})
    torch.testing.assert_close(found, latents, **EXACT)


def test_some_levels_are_spread_and_end_with_the_last():
    sigmas = karras_sigmas(10, 0.1, 10.0)
    asked = sigmas[:-1].tolist()
    assert some_levels(sigmas, 1) == (asked[9],)
    assert some_levels(sigmas, 3) == (asked[2], asked[5], asked[9])
    assert some_levels(sigmas, 10) == some_levels(sigmas, 99) == tuple(asked)
    with pytest.raises(UserError, match="at 1 level or more, got 0"):
        some_levels(sigmas, 0)


def test_unusable_things_are_refused():
    toy = ToyDenoiser()
    for noise in (-0.1, float("nan"), float("inf")):
        with pytest.raises(UserError, match="noise is a number from 0 up"):
            Consistent(toy, lambda _: AreaAverage(4), noise=noise)
    for options in ({"spread": 0.0}, {"unit": -1.0}):
        with pytest.raises(UserError, match="is a deviation, above 0"):
            Consistent(toy, lambda _: AreaAverage(4), **options)
    with pytest.raises(UserError, match="side of at least 1 pixel"):
        AreaAverage(0)
    with pytest.raises(UserError, match="deviation above 0"):
        Blur(0.0)
    u, sigma, condition = randn(BATCH, CHANNELS, HEIGHT, WIDTH, seed=0), randn(BATCH, seed=1).exp(), toy_condition()
    with pytest.raises(ShapeError, match=r"\(3, 2, 8, 12\), the operator makes \(3, 2, 2, 3\)"):
        Consistent(toy, lambda _: AreaAverage(4))(u, sigma, condition)
    del condition["measurement"]
    with pytest.raises(UserError, match="needs a 'measurement' in the condition, which has picture, mask"):
        Consistent(toy, lambda _: AreaAverage(4))(u, sigma, condition)
