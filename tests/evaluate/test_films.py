"""Films: every frame comes back as it was, in its place, and smaller where that was asked for."""

import base64

import cv2
import numpy as np
import pytest

from tests.evaluate.outs import drifting
from warped_diffusion.errors import ShapeError
from warped_diffusion.evaluate.films import LEVELS, Film, Level, make_film

FINE = Level(90, 512)
LOSS = 30.0
"""dB: below WebP's fidelity at quality 90 on `drifting` (33 and more), above that of the next frame (26 and less)."""


def frames_of(film: Film) -> np.ndarray:
    """(N, H, W, 3) uint8, RGB."""
    data = [np.frombuffer(base64.b64decode(source.partition(",")[2]), np.uint8) for source in film.frames]
    return np.stack([cv2.imdecode(frame, cv2.IMREAD_COLOR)[..., ::-1] for frame in data])


def fidelity(a: np.ndarray, b: np.ndarray) -> float:
    """PSNR, dB."""
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


@pytest.mark.parametrize("size", [(48, 64), (45, 61), (40, 70)])
def test_every_frame_comes_back(size: tuple[int, int]) -> None:
    frames = drifting(7, size, 0)
    film = make_film(frames, FINE)
    back = frames_of(film)
    assert back.shape == frames.shape
    assert not film.reduced
    for j, frame in enumerate(frames):
        assert fidelity(back[j], frame) > LOSS
        assert fidelity(back[j], frames[j - 1]) < LOSS


def test_large_frames_are_made_smaller_in_shape() -> None:
    frames = drifting(3, (60, 120), 0)
    film = make_film(frames, Level(90, 40))
    assert film.reduced
    assert (film.width, film.height) == (40, 20)
    small = np.stack([cv2.resize(frame, (40, 20), interpolation=cv2.INTER_AREA) for frame in frames])
    assert fidelity(frames_of(film), small) > LOSS


def test_levels_go_down() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (4, 140, 140, 3), np.uint8)
    sizes = [make_film(frames, level).length for level in LEVELS]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0] / 2


@pytest.mark.parametrize(
    "frames",
    [np.zeros((2, 4, 4), np.uint8), np.zeros((2, 4, 4, 3)), np.zeros((0, 4, 4, 3), np.uint8)],
)
def test_what_is_no_film_is_refused(frames: np.ndarray) -> None:
    with pytest.raises(ShapeError, match="expected frames"):
        make_film(frames, FINE)
