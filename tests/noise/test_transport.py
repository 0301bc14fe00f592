"""Noise carried through a map arrives white: covariances as dense matrices, column by column, no sampling."""

import math
import os
import signal

import pytest
import torch

from warped_diffusion.flow.maps import identity_map
from warped_diffusion.noise.transport import COARSE, FINE, Transport, pair

SIZE, LATTICE = (10, 12), (21, 25)
PIXELS = SIZE[0] * SIZE[1]
ORIGIN = torch.tensor([6.0, 5.0], dtype=torch.float64)
CENTRE = ORIGIN + torch.tensor([5.5, 4.5], dtype=torch.float64)

# Largest eigenvalue of the covariance's error. Up to lambda = 1.5 the polynomials hold lambda p^2 + q^2 = 1 within
# 0.003, up to 1.9, where a swirl of three pixels' radius gets to, within 0.03. Pixels that jump about reach 3.
WHITE, SWIRLED = 0.01, 0.03
ROUGHLY_WHITE, JITTERED = 0.08, 0.3


def grid() -> torch.Tensor:
    return identity_map(*SIZE, dtype=torch.float64) + ORIGIN


def affine(a: float, b: float, c: float, d: float) -> torch.Tensor:
    return (grid() - CENTRE) @ torch.tensor([[a, b], [c, d]], dtype=torch.float64).T + CENTRE


def turned(degrees: float) -> torch.Tensor:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return affine(cos, -sin, sin, cos)


def swirled() -> torch.Tensor:
    away = grid() - CENTRE
    angle = 0.6 * torch.exp(-away.square().sum(-1) / 18)
    cos, sin = angle.cos(), angle.sin()
    return CENTRE + torch.stack([cos * away[..., 0] - sin * away[..., 1], sin * away[..., 0] + cos * away[..., 1]], -1)


def jittered() -> torch.Tensor:
    return grid() + torch.randn(*SIZE, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def mirrored() -> torch.Tensor:
    positions = grid()
    positions[..., 0] = ORIGIN[0] + (positions[..., 0] - CENTRE[0]).abs()
    return positions


SMOOTH = {
    "shift": grid() + torch.tensor([0.37, -1.21]).double(),
    "rotation": turned(30),
    "zoom in": affine(0.6, 0, 0, 0.6),
    "zoom out": affine(1.6, 0, 0, 1.6),
    "shear": affine(1, 0.3, 0, 1),
    "stretch": affine(0.7, 0, 0, 1.4),
    "swirl": swirled(),
}
ROUGH = {
    "jitter": jittered(),
    "fold": mirrored(),
    "collapse": grid() * 0 + CENTRE,
    "line": grid() * torch.tensor([0.0, 1.0]) + torch.tensor([7.3, 0.0]),
    "shrink": affine(5, 0, 0, 5),
}


def carried_matrix(transport: Transport) -> torch.Tensor:
    """A, (pixels, lattice sites): what every single site sends to the frame. Sites travel in pairs."""
    sites = torch.eye(LATTICE[0] * LATTICE[1], dtype=torch.float64).reshape(-1, *LATTICE)
    sites = torch.cat([sites, torch.zeros(len(sites) % 2, *LATTICE)])
    return transport.apply(pair(sites))[: LATTICE[0] * LATTICE[1]].reshape(-1, PIXELS).T.double()


def covariance(transport: Transport) -> torch.Tensor:
    """Of the completed noise, exactly: it is linear in the carried noise and in the fill."""
    A = carried_matrix(transport)
    columns = A.T.reshape(-1, *SIZE)
    columns = torch.cat([columns, torch.zeros(len(columns) % 2, *SIZE)])
    fill = torch.eye(PIXELS, dtype=torch.float64).reshape(PIXELS, *SIZE)
    from_carried = transport.complete(columns, torch.zeros_like(columns)).reshape(-1, PIXELS)
    from_fill = transport.complete(torch.zeros_like(fill), fill).reshape(-1, PIXELS)
    return from_carried.T @ from_carried + from_fill.T @ from_fill


@pytest.mark.parametrize("name", SMOOTH | ROUGH)
def test_gram_is_a_times_its_transpose(name):
    transport = Transport((SMOOTH | ROUGH)[name], LATTICE)
    A = carried_matrix(transport)
    values = torch.randn(2, *SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = (values.reshape(2, -1) @ A @ A.T).reshape_as(values)
    assert (transport.gram(values) - expected).abs().max() < 20 * COARSE * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize("name", SMOOTH)
def test_noise_through_a_smooth_map_is_white(name):
    error = covariance(Transport(SMOOTH[name], LATTICE)) - torch.eye(PIXELS)
    assert torch.linalg.matrix_norm(error, 2) < (SWIRLED if name == "swirl" else WHITE)


@pytest.mark.parametrize("name", ROUGH)
def test_noise_through_a_map_that_folds_or_collapses_is_white(name):
    error = covariance(Transport(ROUGH[name], LATTICE)) - torch.eye(PIXELS)
    assert error.diagonal().abs().mean() < WHITE
    assert torch.linalg.matrix_norm(error, 2) < (JITTERED if name == "jitter" else ROUGHLY_WHITE)


def test_without_completion_it_would_not_be_white():
    A = carried_matrix(Transport(SMOOTH["zoom in"], LATTICE))
    assert torch.linalg.matrix_norm(A @ A.T - torch.eye(PIXELS), 2) > 0.9


def test_a_translation_carries_everything():
    transport = Transport(SMOOTH["shift"], LATTICE)
    A = carried_matrix(transport)
    assert transport.is_translation
    assert (A @ A.T - torch.eye(PIXELS)).abs().max() < 10 * FINE


def test_whole_pixels_are_carried_unchanged():
    white = torch.randn(2, *LATTICE, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    transport = Transport(grid() + torch.tensor([2.0, -3.0]).double(), LATTICE)
    carried = transport.complete(transport.apply(pair(white)), torch.full((2, *SIZE), torch.nan))
    assert (carried - white[:, 2 : 2 + SIZE[0], 8 : 8 + SIZE[1]]).abs().max() < 1e-5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_forked_process_has_threads_of_its_own():
    """A pool that was made before the fork has none in the child, and would wait for ever."""
    transport = Transport(SMOOTH["swirl"], LATTICE)
    values = torch.zeros(4, *SIZE, dtype=torch.float64)
    transport.gram(values)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        transport.gram(values)
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


@pytest.mark.parametrize(("name", "best"), [("zoom out", 1 / 1.6**2), ("rotation", 2 / (1 + 0.5 + 0.75**0.5))])
def test_the_band_that_both_grids_hold_is_kept(name, best):
    band = Transport(SMOOTH[name], (201, 201))._scales[0].mean()
    assert abs(float(band) - best) < 0.01  # a mode's share of 201 along either axis
