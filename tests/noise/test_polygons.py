"""Outlines and the points inside them, against a test of each point by itself."""

import math

import numpy as np
import pytest
import torch

from warped_diffusion.flow import identity_map
from warped_diffusion.noise.polygons import pixel_outlines, points_inside


def even_odd(outline: np.ndarray, x: int, y: int) -> bool:
    """Whether (x, y) lies inside the (4, 2) outline: edges to its right, counted one by one."""
    inside = False
    for (x0, y0), (x1, y1) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        if (y0 <= y) != (y1 <= y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
            inside = not inside
    return inside


def test_points_inside_any_quadrilateral() -> None:
    """Convex or not, crossed, either way round, thin or empty."""
    outlines = 6 * np.random.default_rng(0).random((4, 2, 300)) - 3
    outlines[:, 0, 100:] *= 0.2
    x, y, count = points_inside(outlines)
    bounds = np.cumsum(count)[:-1]
    assert count.sum() == len(x) == len(y)
    assert {0, 1, 5} <= set(count)
    for n, (xs, ys) in enumerate(zip(np.split(x, bounds), np.split(y, bounds), strict=True)):
        expected = {(i, j) for i in range(-4, 5) for j in range(-4, 5) if even_odd(outlines[..., n], i, j)}
        assert set(zip(xs.tolist(), ys.tolist(), strict=True)) == expected
        assert len(xs) == len(expected)


@pytest.mark.parametrize("turn", [0.0, 17.0, 45.0, 90.0, 180.0])
@pytest.mark.parametrize("scale", [0.25, 1.0, 2.0, 2.5])
def test_outlines_of_neighbours_share_no_point_and_leave_none_out(turn: float, scale: float) -> None:
    """At twice the size, unturned, every other point lies on an edge or a corner exactly."""
    angle = math.radians(turn)
    matrix = scale * torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]).double()
    outlines = pixel_outlines(identity_map(30, 30, dtype=torch.float64) @ matrix)[..., 1:-1, 1:-1]
    x, y, _ = points_inside(outlines.flatten(2).numpy())
    points = set(zip(x.tolist(), y.tolist(), strict=True))
    assert len(points) == len(x)
    corners = [outlines[0, :, 0, 0], outlines[1, :, 0, -1], outlines[2, :, -1, -1], outlines[3, :, -1, 0]]
    whole = np.stack([corner.numpy() for corner in corners])
    middle = whole.mean(axis=0)
    well_inside = middle + 0.99 * (whole - middle)
    reach = range(-80, 81)
    assert {(i, j) for i in reach for j in reach if even_odd(well_inside, i, j)} <= points
    assert abs(len(points) / (28 * scale) ** 2 - 1) < 0.06


def test_outlines_of_affine_maps_are_exact_up_to_the_border() -> None:
    matrix, offset = torch.tensor([[2.0, 0.5], [-0.25, -1.0]]).double(), torch.tensor([3.0, 7.0])
    outlines = pixel_outlines(identity_map(4, 6, dtype=torch.float64) @ matrix + offset)
    for corner, step in zip(outlines, [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)], strict=True):
        expected = (identity_map(4, 6).double() + torch.tensor(step)) @ matrix + offset
        assert (corner.movedim(0, -1) - expected).abs().max() < 1e-12


def test_a_frame_of_one_pixel_has_the_outline_of_a_shifted_one() -> None:
    outlines = pixel_outlines(torch.tensor([[[4.0, 2.0]]]).double())
    assert outlines[:, :, 0, 0].tolist() == [[3.5, 1.5], [4.5, 1.5], [4.5, 2.5], [3.5, 2.5]]
