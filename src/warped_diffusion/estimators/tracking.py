"""A mask that moves with the object it covers.

From frame to frame, points on the object are followed and a similarity is fitted to them (RANSAC). That alone drifts,
so each frame is then aligned with the first one, in which the mask was given: a map is sought that brings the object as
it looked there to where it is now, by the enhanced correlation coefficient (Evangelidis and Psarakis, 2008), a
shift unless a similarity fits better, and that unless an affine one clearly does: a smooth object looks much the same
stretched. Its outline says more, so a rim around the mask is aligned too. A mask may cover background, as boxes do:
points that go with what is around the mask are not followed, and pixels that do not come along with the object are
found out and not looked at. The mask is always the first mask through that one map, resampled once.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from warped_diffusion.errors import ShapeError
from warped_diffusion.estimators.dis import LUMA

LEAST_POINTS = 6
"""Fewer followed points say nothing."""
LEAST_CORRELATION = 0.6
"""An alignment with less correlation than this is not believed."""
RENEWAL = 0.75
"""Below this correlation the object has changed its looks: the frame before becomes the one to align with."""
LEAST_AREA = 60
"""Pixels of the object that must be in sight for an alignment; fewer go on as they moved last."""
FARTHEST = 0.25
"""An alignment may correct the place of the mask by this share of its size, or by `NEAREST` pixels."""
NEAREST = 4.0
LEAST_SHARE = 0.5
"""Of an object that is less in sight than this only the shift is told."""
SAME = 2.5
SAME_LEVELS = 12.0
"""What differs from frame to frame by more than this multiple of the usual, and so many of 255, is not the object."""
SHEAR, SQUEEZE = 0.05, 1.2
"""A map that is no similarity must correlate better than one by this, and squeeze the object by less than that."""
RIM = 3
"""Pixels around the mask that are aligned too: of a smooth object the outline alone says how large it is."""
OWN, OWN_SHARE = 1.0, 0.15
"""Points that stray from the background's motion by so many pixels are the object's, if they are this share of all."""
GAIN = 0.97
"""More than a shift is believed if it leaves less than this share of what the shift does not explain."""
REACH = 12
"""Pixels in which a lost object is searched for around the place where it should be."""
MARGIN = 24
"""Pixels around the mask that are looked at."""


class _View(NamedTuple):
    """The object as it looked in one frame: the picture, where it is in it, and the map there from the first mask."""

    grey: np.ndarray
    mask: np.ndarray
    place: np.ndarray


class Tracker:
    """Follows an object through a clip, from the mask that covers it in the first frame on.

    An object that has left the frame, and one that cannot be found, goes on as it last moved.

    Args:
        frame: (3, H, W) in [0, 1], the first.
        mask: (1, H, W) or (H, W), positive on the object.
    Raises: ShapeError if the mask is not of the frame's size.
    """

    def __init__(self, frame: Tensor, mask: Tensor) -> None:
        if tuple(mask.shape[-2:]) != tuple(frame.shape[-2:]) or mask.numel() != frame[0].numel():
            raise ShapeError(f"the mask is {tuple(mask.shape)}, the frame {tuple(frame.shape)}: give one of its size")
        self.frames = 0
        """How many have followed the first."""
        self.lost: int | None = None
        """The first frame in which the object was in sight but could not be found, if there is one."""
        hole = (mask.reshape(mask.shape[-2:]) > 0).cpu().numpy()
        self._first = hole.astype(np.float32)
        self._corners = _corners(hole)
        self._last = self._model = _View(_grey(frame), hole.astype(np.uint8), np.eye(3))
        self._step, self._velocity = np.eye(3), np.zeros(2)
        self._inside = hole.astype(np.uint8)
        self._near = _grown(self._inside, RIM) > 0
        self._ring = _grown(self._inside, MARGIN) - _grown(self._inside, RIM + 2)
        self._misfit = np.zeros_like(self._first)

    def advance(self, frame: Tensor) -> Tensor:
        """The mask of the next frame: (1, H, W) of 0 and 1.   Raises: ShapeError if the frame is of another size."""
        grey = _grey(frame)
        if grey.shape != self._first.shape:
            raise ShapeError(f"the frame is {tuple(frame.shape)}, the first one was {self._first.shape}")
        self.frames += 1
        if self._first.any():
            place = self._find(grey)
            self._step = place @ np.linalg.inv(self._last.place)
            self._last = _View(grey, self._mask(place), place)
        return torch.from_numpy(self._last.mask.astype(np.float32))[None]

    def _find(self, grey: np.ndarray) -> np.ndarray:
        """Where the first mask is now: a map (3, 3)."""
        mask = self._moved(self._support() * self._inside, self._last.place)
        ring = self._moved(self._ring, self._last.place)
        followed = _follow(self._last.grey, mask, ring, grey, self._step)
        guess = (self._step if followed is None else followed) @ self._last.place
        share = self._share(guess)
        if share < LEAST_SHARE and (share < LEAST_SHARE / 2 or share * self._first.sum() < LEAST_AREA):
            return self._coast()
        if self.frames == 1 and followed is not None:
            self._learn(grey, guess)
        place, correlation = guess, -1.0
        for model, start, steady in self._attempts(guess, share < LEAST_SHARE, grey):
            found, fit = self._shifted_or_more(model, grey, start, steady)
            if fit > correlation:
                self._model, place, correlation = model, found, fit
            if correlation > RENEWAL:
                break
        if correlation < LEAST_CORRELATION:
            if followed is None and share > LEAST_SHARE and self.lost is None:
                self.lost = self.frames
            return guess
        if share > 0.9:
            self._learn(grey, place)
        centre = self._corners.mean(0)
        moved = (place - self._last.place)[:2, :2] @ centre + (place - self._last.place)[:2, 2]
        self._velocity = moved if self.frames == 1 else 0.7 * self._velocity + 0.3 * moved
        return place

    def _attempts(self, guess: np.ndarray, steady: bool, grey: np.ndarray) -> Iterator[tuple[_View, np.ndarray, bool]]:
        """What to align with, from where, and whether by a shift alone, until one fits."""
        yield self._model, guess, steady
        sought = self._search(grey)
        yield self._model, sought, steady
        if not steady:
            yield self._last, guess, False
            yield self._last, sought, True

    def _learn(self, grey: np.ndarray, place: np.ndarray) -> None:
        """Note which pixels of the first mask do not go with the object: a box holds background in its corners."""
        views = ((grey, place), (self._model.grey, self._model.place), (np.ones_like(grey), place))
        now, before, seen = (self._brought(picture.astype(np.float32), there) for picture, there in views)
        near = np.ones((3, 3), np.uint8)  # an outline that is a pixel off still goes with the object
        above, below = now - cv2.dilate(before, near), cv2.erode(before, near) - now
        misfit = cv2.blur(np.maximum(np.maximum(above, below), 0), (3, 3))
        if self.frames > 1:
            misfit = 0.8 * self._misfit + 0.2 * misfit
        self._misfit = np.where(seen > 0.99, misfit, self._misfit)

    def _support(self) -> np.ndarray:
        """The first mask and its rim without what does not go with the object: (H, W) uint8."""
        inside = self._first > 0
        usual = float(np.quantile(self._misfit[inside], 0.25))
        same = self._misfit <= max(SAME * usual, SAME_LEVELS)
        return (self._near & same if (inside & same).sum() > 0.3 * inside.sum() else inside).astype(np.uint8)

    def _coast(self) -> np.ndarray:
        """The place after another step of what the object moved by lately, without a turn or a zoom."""
        shift = np.eye(3)
        shift[:2, 2] = self._velocity
        return shift @ self._last.place

    def _share(self, place: np.ndarray) -> float:
        """How much of the object would be in sight."""
        whole = self._first.sum() * abs(np.linalg.det(place[:2, :2]))
        return float(self._mask(place).sum() / max(whole, 1))

    def _search(self, grey: np.ndarray) -> np.ndarray:
        """The place where the object, as it last looked, correlates best, around where it would go on to."""
        last, start = self._last, self._step @ self._last.place
        window = _window(last.mask, 1)
        if window is None:
            return start
        (top, bottom), (left, right) = window
        centre = np.array([(left + right) / 2, (top + bottom) / 2])
        x, y = (self._step[:2, :2] @ centre + self._step[:2, 2] - centre).round().astype(int)
        edge = REACH + max(abs(x), abs(y))
        patch, mask = (part[top:bottom, left:right] for part in (last.grey, last.mask))
        rows, columns = (
            slice(a - REACH + edge, b + REACH + edge) for a, b in ((top + y, bottom + y), (left + x, right + x))
        )
        around = np.pad(grey, edge, mode="edge")[rows, columns]
        fit = np.nan_to_num(cv2.matchTemplate(around, patch, cv2.TM_CCOEFF_NORMED, mask=mask), posinf=0, neginf=0)
        down, across = np.unravel_index(int(fit.argmax()), fit.shape)
        shift = np.eye(3)
        shift[:2, 2] = x + across - REACH, y + down - REACH
        return shift @ last.place

    def _mask(self, place: np.ndarray) -> np.ndarray:
        """The first mask, moved: (H, W) uint8."""
        return (self._moved(self._first, place) > 0.5).astype(np.uint8)

    def _moved(self, picture: np.ndarray, place: np.ndarray) -> np.ndarray:
        return cv2.warpAffine(picture, place[:2], self._first.shape[::-1], flags=cv2.INTER_LINEAR)

    def _brought(self, picture: np.ndarray, place: np.ndarray) -> np.ndarray:
        """The other way: what is there now, where it was under the first mask."""
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(picture, place[:2], self._first.shape[::-1], flags=flags)

    def _align(self, view: _View, grey: np.ndarray, guess: np.ndarray, steady: bool) -> tuple[np.ndarray, float]:
        """The guess made exact against the object as it looked in `view`, and how well it fits; -1 if it does not.

        Only shifted if `steady`, else by any affine map.
        """
        around = _window(self._mask(guess), MARGIN)
        if around is None:
            return guess, -1.0
        (top, bottom), (left, right) = around
        height, width = bottom - top, right - left
        corner = np.array([[1, 0, left], [0, 1, top], [0, 0, 1]], np.float64)
        start = view.place @ np.linalg.inv(guess) @ corner  # from the window to the view's picture
        picture, mask = view.grey, self._moved(self._support(), view.place) * 255
        kind, first = cv2.MOTION_AFFINE, start[:2].astype(np.float32)
        if steady:
            flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
            picture, mask = (cv2.warpAffine(p, start[:2], (width, height), flags=flags) for p in (picture, mask))
            kind, first = cv2.MOTION_TRANSLATION, np.eye(2, 3, dtype=np.float32)
        until = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 50, 1e-5)
        window = grey[top:bottom, left:right]
        try:
            correlation, found = cv2.findTransformECC(
                window, picture, first, kind, until, (mask > 127).astype(np.uint8), 3
            )
        except cv2.error:  # it did not converge, or there is nothing to correlate
            return guess, -1.0
        inverse = np.vstack([found, [0, 0, 1]]).astype(np.float64)
        if not np.isfinite(inverse).all() or abs(np.linalg.det(inverse)) < 1e-3:
            return guess, -1.0
        place = corner @ np.linalg.inv(inverse) @ (np.linalg.inv(corner) @ guess if steady else view.place)
        return (place, float(correlation)) if self._plausible(place, guess) else (guess, -1.0)

    def _shifted_or_more(
        self, view: _View, grey: np.ndarray, guess: np.ndarray, steady: bool
    ) -> tuple[np.ndarray, float]:
        """As `_align`, but only shifted if `steady`, and where more than a shift does not fit better."""
        shifted, fit = self._align(view, grey, guess, True)
        if steady:
            return shifted, fit
        free, free_fit = self._align(view, grey, shifted, False)
        if free_fit < 0:
            return shifted, fit
        free = self._simplest(view, grey, free)
        left, left_free = (1 - self._likeness(view, grey, place) for place in (shifted, free))
        return (free, free_fit) if fit < 0 or left_free < GAIN * left else (shifted, fit)

    def _simplest(self, view: _View, grey: np.ndarray, place: np.ndarray) -> np.ndarray:
        """The similarity nearest to an affine map, unless that fits clearly better: shear is mostly a slip."""
        y, x = np.nonzero(self._first)
        points = x + 1j * y
        moved = (place[0, 0] + 1j * place[1, 0]) * x + (place[0, 1] + 1j * place[1, 1]) * y
        spread = points - points.mean()
        factor = (np.conj(spread) * (moved - moved.mean())).sum() / max((np.abs(spread) ** 2).sum(), 1e-9)
        shift = moved.mean() - factor * points.mean() + place[0, 2] + 1j * place[1, 2]
        similar = np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag], [0, 0, 1]])
        longest, shortest = np.linalg.svd(place[:2, :2], compute_uv=False)
        if longest > SQUEEZE * shortest:
            return similar
        return place if self._likeness(view, grey, place) > self._likeness(view, grey, similar) + SHEAR else similar

    def _likeness(self, view: _View, grey: np.ndarray, place: np.ndarray) -> float:
        """Correlation of the object as it is seen at a place with how it looked in `view`."""
        now, before = self._brought(grey, place), self._brought(view.grey, view.place)
        seen = (self._support() > 0) & (self._brought(np.full_like(grey, 255), place) > 250)
        if seen.sum() < LEAST_AREA / 2:
            return -1.0
        return float(np.nan_to_num(np.corrcoef(now[seen].astype(float), before[seen].astype(float))[0, 1], nan=-1.0))

    def _plausible(self, place: np.ndarray, guess: np.ndarray) -> bool:
        there, expected = (self._corners @ p[:2, :2].T + p[:2, 2] for p in (place, guess))
        size = np.linalg.norm(expected[2] - expected[0])
        return bool(np.linalg.norm(there - expected, axis=1).max() < max(NEAREST, FARTHEST * size))


def track_mask(frames: Iterable[Tensor], mask: Tensor) -> Iterator[Tensor]:
    """The mask of every frame, given that of the first: a stream of (1, H, W), 0 or 1; see `Tracker`."""
    tracker = None
    for frame in frames:
        if tracker is None:
            tracker = Tracker(frame, mask)
            yield (mask.reshape(1, *mask.shape[-2:]) > 0).float().cpu()
        else:
            yield tracker.advance(frame)


def _grey(frame: Tensor) -> np.ndarray:
    """(3, H, W) in [0, 1] -> (H, W) uint8."""
    luma = torch.einsum("c,chw->hw", frame.new_tensor(LUMA), frame)
    return (luma * 255).round().clamp(0, 255).byte().cpu().numpy()


def _follow(
    before: np.ndarray, mask: np.ndarray, ring: np.ndarray, grey: np.ndarray, step: np.ndarray
) -> np.ndarray | None:
    """The similarity (3, 3) that the object's points made from that frame to this one; None if too few are found.

    Points under the mask that go with those of the ring around it are background, if enough others are left.
    """
    # Neither a window nor a coarse level should see mostly what is around the object.
    side = math.sqrt(max(mask.sum(), LEAST_AREA))
    window, levels = int(np.clip(side / 2, 7, 15)), int(np.clip(math.log2(side / 8), 0, 4))
    search: dict[str, Any] = {"winSize": (window, window), "maxLevel": levels, "flags": cv2.OPTFLOW_USE_INITIAL_FLOW}
    here, there = _points(before, mask, grey, step, search)
    background = _similarity(*_points(before, ring, grey, np.eye(3), search))
    if background is not None and len(here):
        own = np.linalg.norm(here @ background[:2, :2].T + background[:2, 2] - there, axis=1) > OWN
        if own.sum() >= max(LEAST_POINTS, OWN_SHARE * len(own)):
            here, there = here[own], there[own]
    return _similarity(here, there)


def _points(
    before: np.ndarray, mask: np.ndarray, grey: np.ndarray, step: np.ndarray, search: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Points under the mask and where they went, (N, 2) each: those that are found again on the way back."""
    points = cv2.goodFeaturesToTrack(before, 200, 0.01, 3, mask=mask)
    if points is None:
        return np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32)
    points = points.reshape(-1, 2)
    guess = (points @ step[:2, :2].T + step[:2, 2]).astype(np.float32)
    there, found, _ = cv2.calcOpticalFlowPyrLK(before, grey, points, guess.copy(), **search)
    back, home, _ = cv2.calcOpticalFlowPyrLK(grey, before, there, points.copy(), **search)
    good = (found.ravel() > 0) & (home.ravel() > 0) & (np.abs(back - points).max(1) < 0.7)
    return points[good], there[good]


def _similarity(here: np.ndarray, there: np.ndarray) -> np.ndarray | None:
    """The similarity (3, 3) that most points follow; None if there are too few."""
    if len(here) < LEAST_POINTS:
        return None
    matrix, inliers = cv2.estimateAffinePartial2D(here, there, method=cv2.RANSAC, ransacReprojThreshold=1)
    if matrix is None or inliers.sum() < max(LEAST_POINTS, 0.3 * len(here)):
        return None
    return np.vstack([matrix, [0, 0, 1]])


def _window(mask: np.ndarray, margin: int) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Rows and columns of the mask and some pixels around it, within the frame; None where it is empty."""
    spans = []
    for axis in (1, 0):
        hits = np.flatnonzero(mask.any(axis))
        if not len(hits):
            return None
        spans.append((max(int(hits[0]) - margin, 0), min(int(hits[-1]) + 1 + margin, mask.shape[1 - axis])))
    return spans[0], spans[1]


def _grown(mask: np.ndarray, pixels: int) -> np.ndarray:
    return cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pixels + 1, 2 * pixels + 1)))


def _corners(hole: np.ndarray) -> np.ndarray:
    """(4, 2) corners of the box around the mask, x and y."""
    window = _window(hole, 0)
    if window is None:
        return np.zeros((4, 2))
    (top, bottom), (left, right) = window
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)
