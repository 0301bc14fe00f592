"""Clips whose motion is known: an ellipse with a texture of its own over a textured background, both moving."""

import math

import cv2
import numpy as np
import torch
from torch import Tensor

HEIGHT, WIDTH = 120, 160
CENTRE = (50.0, 60.0)


def texture(height: int, width: int, seed: int) -> np.ndarray:
    """(height, width) float32 in [0, 1], of coarse and fine detail."""
    generator = np.random.default_rng(seed)
    noise = (generator.normal(size=(height, width)).astype(np.float32) for _ in range(3))
    made = sum(cv2.GaussianBlur(part, (0, 0), s) * s for part, s in zip(noise, (1.2, 3, 8), strict=True))
    return (made - made.min()) / (made.max() - made.min())


def similarity(
    frame: int,
    shift: tuple[float, float] = (0, 0),
    rotation: float = 0,
    zoom: float = 1,
    centre: tuple[float, float] = CENTRE,
) -> np.ndarray:
    """(3, 3): so many times a turn (degrees) and zoom about the centre, and a shift, from the first frame."""
    angle, scale, middle = math.radians(rotation * frame), zoom**frame, np.array(centre)
    matrix = np.eye(3)
    matrix[:2, :2] = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix[:2, 2] = middle - matrix[:2, :2] @ middle + np.array(shift) * frame
    return matrix


def background(place: np.ndarray, seed: int = 2) -> np.ndarray:
    """(HEIGHT, WIDTH): a texture nine times the frame's size, moved."""
    offset = np.array([[1, 0, -WIDTH], [0, 1, -HEIGHT], [0, 0, 1.0]])
    whole = texture(3 * HEIGHT, 3 * WIDTH, seed)
    return cv2.warpAffine(whole, (place @ offset)[:2], (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC)


def shading() -> np.ndarray:
    """(HEIGHT, WIDTH) float32 in [0, 1]: a pattern without any detail, dark on one side."""
    x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    return np.clip(0.5 + (x - CENTRE[0]) / 60 - (y - CENTRE[1]) / 90, 0.05, 0.95).astype(np.float32)


def moving_object(
    places, camera, radii=(18, 13), noise=0.01, pattern: np.ndarray | None = None
) -> tuple[list[Tensor], list[np.ndarray]]:
    """Frames (3, H, W) and the object's true masks (H, W) bool, given (3, 3) places of the object and of the camera."""
    generator = np.random.default_rng(5)
    base = np.zeros((HEIGHT, WIDTH), np.float32)
    pattern = texture(HEIGHT, WIDTH, 1) if pattern is None else pattern
    cv2.ellipse(base, (int(CENTRE[0]), int(CENTRE[1])), radii, 20, 0, 360, 1, -1)
    frames, masks = [], []
    for place, ground in zip(places, camera, strict=True):
        mask = cv2.warpAffine(base, place[:2], (WIDTH, HEIGHT))
        moved = cv2.warpAffine(pattern, place[:2], (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)
        frame = mask * moved + (1 - mask) * background(ground) + generator.normal(size=mask.shape) * noise
        frames.append(grey_frame(frame))
        masks.append(mask > 0.5)
    return frames, masks


def grey_frame(values: np.ndarray) -> Tensor:
    """(H, W) -> (3, H, W) in [0, 1]."""
    return torch.from_numpy(np.clip(values, 0, 1)).float().expand(3, -1, -1)
