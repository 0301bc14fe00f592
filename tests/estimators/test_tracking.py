"""The tracker against clips whose motion is known: contour, centre, and no drift."""

import math

import cv2
import numpy as np
import pytest
import torch

from tests.estimators.scenes import HEIGHT, WIDTH, moving_object, shading, similarity
from warped_diffusion.errors import ShapeError
from warped_diffusion.estimators import Tracker, track_mask

FRAMES = 48
CONTOUR = 1.5
"""Pixels that the contour may be off on average; half a pixel is the raster's."""

DRIFT = 3.0
"""Pixels that a mask may be off as a whole where it covers more background than object."""


def contour_error(mask: np.ndarray, true: np.ndarray) -> float:
    """Mean distance of the mask's border pixels to the true border, pixels."""
    edges = [
        cv2.morphologyEx(m.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) & m for m in (mask, true)
    ]
    distance = cv2.distanceTransform(1 - edges[1], cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return float(distance[edges[0] > 0].mean())


def sway(frame):
    return similarity(1, (24 * math.sin(frame / 4), 12 * math.cos(frame / 5) - 12))


MOTIONS = {
    "shift": (lambda j: similarity(j, (1.2, 0.3)), lambda j: similarity(j, (-0.7, 0.2))),
    "turn": (lambda j: similarity(j, (0.5, 0), 3), lambda j: similarity(j, (0.7, 0.2))),
    "zoom in": (lambda j: similarity(j, (0.2, 0), 0, 1.012), lambda j: similarity(j, (0.7, 0.2))),
    "zoom out": (lambda j: similarity(j, (0.2, 0), 1, 0.987), lambda j: similarity(j, (-0.7, 0.2))),
    "to and fro": (sway, lambda j: similarity(j, (-2, 0.2))),
    "still under a moving camera": (lambda j: similarity(j), lambda j: similarity(j, (-1.5, 0.5))),
    "with the camera": (lambda j: similarity(j, (-0.4, 0.5)), lambda j: similarity(j, (-0.4, 0.5))),
}


@pytest.mark.parametrize("name", MOTIONS)
def test_the_mask_stays_on_the_object_for_48_frames(name):
    place, camera = MOTIONS[name]
    frames, true = moving_object([place(j) for j in range(FRAMES)], [camera(j) for j in range(FRAMES)])
    masks = list(track_mask(frames, torch.from_numpy(true[0])))
    assert len(masks) == FRAMES
    assert all(mask.shape == (1, HEIGHT, WIDTH) and set(mask.unique().tolist()) <= {0.0, 1.0} for mask in masks)
    assert np.array_equal(masks[0][0].numpy() > 0, true[0])
    errors = [contour_error(mask[0].numpy() > 0, truth) for mask, truth in zip(masks, true, strict=True)]
    assert max(errors) < CONTOUR


@pytest.mark.parametrize("name", ["with the camera", "still under a moving camera", "zoom out"])
def test_a_smooth_object_is_held_by_its_outline(name):
    """Stretched, a ramp of brightness looks like itself: within the mask alone its size cannot be told."""
    place, camera = MOTIONS[name]
    places, cameras = [place(j) for j in range(FRAMES)], [camera(j) for j in range(FRAMES)]
    frames, true = moving_object(places, cameras, pattern=shading())
    masks = track_mask(frames, torch.from_numpy(true[0]))
    errors = [contour_error(mask[0].numpy() > 0, truth) for mask, truth in zip(masks, true, strict=True)]
    assert max(errors) < CONTOUR


def test_a_loose_mask_does_not_stay_with_the_background():
    places = [similarity(j, (1.6, 0.2)) for j in range(FRAMES)]
    frames, true = moving_object(places, [np.eye(3)] * FRAMES, pattern=shading())
    loose = cv2.dilate(true[0].astype(np.uint8), np.ones((13, 13), np.uint8))
    first_y, first_x = np.argwhere(loose).mean(0)
    for place, mask in zip(places, track_mask(frames, torch.from_numpy(loose)), strict=True):
        y, x = (float(where.float().mean()) for where in torch.nonzero(mask[0], as_tuple=True))
        assert math.dist((x, y), (place @ np.array([first_x, first_y, 1]))[:2]) < DRIFT


def test_a_box_that_holds_background_too_goes_with_the_object():
    place, camera = MOTIONS["shift"]
    frames, true = moving_object([place(j) for j in range(FRAMES)], [camera(j) for j in range(FRAMES)])
    box = torch.zeros(1, HEIGHT, WIDTH)
    rows, columns = (np.flatnonzero(true[0].any(axis)) for axis in (1, 0))
    box[:, rows[0] - 2 : rows[-1] + 3, columns[0] - 2 : columns[-1] + 3] = 1
    *_, last = track_mask(frames, box)
    y, x = (float(places.float().mean()) for places in torch.nonzero(last[0], as_tuple=True))
    first_y, first_x = (float(places.float().mean()) for places in torch.nonzero(box[0], as_tuple=True))
    expected = place(FRAMES - 1) @ np.array([first_x, first_y, 1])
    assert math.dist((x, y), expected[:2]) < CONTOUR


def test_an_object_that_leaves_the_frame_takes_its_mask_along():
    places = [similarity(j, (-2.2, 0)) for j in range(FRAMES)]
    frames, true = moving_object(places, [similarity(j, (0.3, 0.2)) for j in range(FRAMES)])
    tracker = Tracker(frames[0], torch.from_numpy(true[0]))
    for frame, truth in zip(frames[1:], true[1:], strict=True):
        mask = tracker.advance(frame)[0].numpy() > 0
        if truth.sum() > 0.3 * true[0].sum():
            assert contour_error(mask, truth) < CONTOUR
    assert not true[-1].any()
    assert not mask.any()
    assert tracker.lost is None


def test_what_cannot_be_found_is_said_and_goes_on():
    frames, true = moving_object([similarity(0)] * 2, [similarity(0)] * 2)
    tracker = Tracker(frames[0], torch.from_numpy(true[0]))
    tracker.advance(frames[1])
    assert tracker.lost is None
    mask = tracker.advance(torch.full((3, HEIGHT, WIDTH), 0.5))
    assert tracker.lost == 2
    assert contour_error(mask[0].numpy() > 0, true[0]) < CONTOUR


def test_an_empty_mask_stays_empty_and_other_sizes_are_refused():
    frames, true = moving_object([similarity(0)] * 2, [similarity(0)] * 2)
    assert not any(mask.any() for mask in track_mask(frames, torch.zeros(1, HEIGHT, WIDTH)))
    with pytest.raises(ShapeError, match="give one of its size"):
        Tracker(frames[0], torch.zeros(1, HEIGHT, WIDTH + 1))
    with pytest.raises(ShapeError, match="the first one was"):
        Tracker(frames[0], torch.from_numpy(true[0])).advance(torch.zeros(3, 8, 8))
