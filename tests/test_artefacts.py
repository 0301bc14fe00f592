"""Blur, noise and codecs: amounts, correlations, and that more of a codec is more of a loss."""

from itertools import pairwise

import numpy as np
import pytest

from warped_diffusion.artefacts import blur, jpeg, sensor_noise, video_frame

SIDE = 96
GREY = np.full((SIDE, SIDE, 3), 0.5, np.float32)
FOUR_DEVIATIONS = 4 / np.sqrt(3 * SIDE**2)
"""Of a correlation between independent values, as many as a picture has."""


def textured(height=SIDE, width=SIDE):
    generator = np.random.default_rng(0)
    rough = blur(generator.standard_normal((height, width, 3)).astype(np.float32), 1.5)
    return np.clip(0.5 + rough, 0, 1)


def noise_of(picture, deviation=0.02, **settings):
    return sensor_noise(picture, deviation, np.random.default_rng(3), **settings) - picture


def correlation(a, b):
    return float((a * b).mean() / np.sqrt((a * a).mean() * (b * b).mean()))


def test_noise_is_of_the_deviation_asked_for():
    for settings in ({}, {"grain": 1.2}, {"grey": 0.7}, {"lean": 0.5}, {"grain": 0.6, "grey": 1.0, "lean": -0.4}):
        noise = noise_of(textured() * 0.8 + 0.1, **settings)
        assert np.sqrt(np.square(noise).mean()) == pytest.approx(0.02, rel=1e-4)


def test_noise_is_white_unless_it_is_given_a_grain():
    white, grained = (noise_of(GREY, grain=grain) for grain in (0, 1.0))
    assert abs(correlation(white[:, 1:], white[:, :-1])) < FOUR_DEVIATIONS
    # white noise through a Gaussian of deviation g has the covariance exp(-d^2 / 4 g^2); fewer pixels are independent
    assert correlation(grained[:, 1:], grained[:, :-1]) == pytest.approx(np.exp(-1 / 4), abs=4 * FOUR_DEVIATIONS)


@pytest.mark.parametrize("grey", [0.0, 0.6, 1.0])
def test_channels_share_as_much_noise_as_they_are_told(grey):
    noise = noise_of(GREY, grey=grey)
    assert correlation(noise[..., 0], noise[..., 2]) == pytest.approx(grey, abs=2 * FOUR_DEVIATIONS)


@pytest.mark.parametrize("lean", [-0.6, 0.0, 0.6])
def test_noise_leans_towards_the_bright_or_the_dark(lean):
    halves = np.concatenate([np.full((SIDE, SIDE, 3), value, np.float32) for value in (0.2, 0.8)])
    dark, bright = np.split(noise_of(halves, lean=lean), 2)
    assert bright.std() / dark.std() == pytest.approx((0.95 / 0.35) ** lean, rel=0.05)  # 27 648 values in each


def loss(coded, picture):
    return float(np.sqrt(np.square(coded - picture).mean()))


def test_a_codec_loses_the_more_the_harder_it_is_pressed():
    picture = textured()
    coded = [[jpeg(picture, quality) for quality in (95, 60, 30, 10)]]
    coded += [[video_frame(picture, "h264", amount) for amount in (10, 22, 32, 42)]]
    coded += [[video_frame(picture, "mpeg4", amount) for amount in (2, 5, 10, 20)]]
    for row in coded:
        losses = [loss(item, picture) for item in row]
        assert all(more > less for less, more in pairwise(losses))
        assert losses[0] < 0.1
        # neither darker nor brighter, beyond rounding and what a coarse quantiser does to a mean
        assert all(abs((item - picture).mean()) < 1 / 255 for item in row)


def moved(coded, picture):
    """How far the content went, (x, y) pixels: least squares over the picture's gradient, per channel."""
    for channel in range(3):
        gradient = np.stack(np.gradient(picture[..., channel])[::-1])[:, 2:-2, 2:-2].reshape(2, -1)
        change = (coded - picture)[2:-2, 2:-2, channel].ravel()
        yield -np.linalg.lstsq(gradient.T, change, rcond=None)[0]


@pytest.mark.parametrize(
    "code",
    [lambda x: jpeg(x, 80), lambda x: video_frame(x, "h264", 18), lambda x: video_frame(x, "mpeg4", 3)],
    ids=["jpeg", "h264", "mpeg4"],
)
def test_a_codecs_colours_lie_where_they_lay(code):
    """Chroma of 4:2:0, taken for half a pixel to the left, would be .4 off."""
    picture = blur(textured(), 3)
    assert np.abs(list(moved(code(picture), picture))).max() < 0.15


@pytest.mark.parametrize("code", [lambda x: jpeg(x, 40), lambda x: video_frame(x, "h264", 30)])
def test_odd_sizes_and_repetition(code):
    picture = textured(35, 51)
    coded = code(picture)
    assert coded.shape == picture.shape
    assert coded.dtype == np.float32
    assert np.array_equal(code(picture), coded)


def test_red_stays_red():
    picture = np.broadcast_to(np.float32([0.8, 0.3, 0.1]), (32, 32, 3))
    for coded in (jpeg(picture, 60), video_frame(picture, "h264", 25), video_frame(picture, "mpeg4", 5)):
        assert np.abs(coded.mean((0, 1)) - picture[0, 0]).max() < 0.03
