"""Scene cuts: found to the frame where shots are joined, and nowhere else; on the sample and on made-up motion."""

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

import warped_diffusion
from tests.estimators.scenes import HEIGHT, WIDTH, background, grey_frame, moving_object, similarity, texture
from warped_diffusion.estimators import CutDetector
from warped_diffusion.tasks import area_average
from warped_diffusion.video import VideoReader

SAMPLE = Path(warped_diffusion.__file__).parent / "assets" / "sample.mp4"


def find(frames):
    detector = CutDetector()
    return [index for index, frame in enumerate(frames) if detector.advance(frame)]


@cache
def sample():
    with VideoReader(SAMPLE) as reader:
        return tuple(reader)


@cache
def shot(name):
    """Ten frames of 120 x 160, each another scene and another motion."""
    if name in ("sample", "mirrored"):
        frames = F.interpolate(torch.stack(sample()[5:15]), size=(HEIGHT, WIDTH), mode="bilinear", antialias=True)
        return tuple(frames.flip(-1) if name == "mirrored" else frames)
    motion = {"pan": {"shift": (9.0, -3.0)}, "zoom": {"zoom": 1.06}, "turn": {"rotation": 4.0}}
    if name in motion:
        seed = 10 + len(name) + ord(name[0])
        return tuple(grey_frame(background(similarity(j, **motion[name]), seed)) for j in range(10))
    places = [similarity(j, (6, 2), 3) for j in range(10)]
    return tuple(moving_object(places, [similarity(0)] * 10, radii=(45, 40))[0])


SHOTS = ("sample", "mirrored", "pan", "zoom", "turn", "object")


@pytest.mark.parametrize("name", SHOTS)
@pytest.mark.parametrize("factor", [1, 4])
def test_no_cut_is_found_within_a_shot(name, factor):
    assert find(area_average(frame, factor) for frame in shot(name)) == []


@pytest.mark.parametrize("factor", [1, 4])
@pytest.mark.parametrize(
    ("first", "second"),
    [("sample", "mirrored"), ("pan", "turn"), ("object", "sample"), ("zoom", "pan"), ("turn", "object")],
)
def test_a_cut_is_found_to_the_frame(first, second, factor):
    """The first pair has one histogram, and the textures have one spectrum."""
    joined = [area_average(frame, factor) for frame in (*shot(first)[:7], *shot(second), *shot(first)[7:])]
    assert find(joined) == [7, 17]


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_the_sample_is_one_shot_even_played_fast(stride):
    """A large figure stands up quickly."""
    assert find(sample()[::stride]) == []
    assert find(area_average(frame, 2) for frame in sample()[::stride]) == []


def test_shots_of_one_frame_and_of_stills():
    first, second = shot("sample")[0], shot("pan")[0]
    assert find([first] * 4 + [second] + [first] * 3 + [second] * 5) == [4, 5, 8]


def test_a_shot_is_judged_as_it_is_alone():
    """Wild motion raises the bar, but only within its shot."""
    fast = [grey_frame(background(similarity(j, (30.0, 12.0)), 5)) for j in range(6)]
    rest = [*shot("mirrored")[:4], *shot("object")[:4], *shot("sample")]
    alone = find(rest)
    assert alone == [4, 8]
    assert find([*fast, *rest]) == [len(fast), *(len(fast) + cut for cut in alone)]


@pytest.mark.parametrize("name", ["sample", "pan", "object"])
@pytest.mark.parametrize(
    "flash",
    [lambda x: x + 0.3, lambda x: x + 0.6, lambda x: 1.8 * x, lambda x: 0 * x + 1, lambda x: 0 * x, lambda x: 0.3 * x],
    ids=["brighter", "much brighter", "more contrast", "white", "black", "darker"],
)
@pytest.mark.parametrize("length", [1, 2])
def test_a_flash_is_no_cut(name, flash, length):
    frames = list(shot(name))
    frames[4 : 4 + length] = [flash(frame).clamp(0, 1) for frame in frames[4 : 4 + length]]
    assert find(frames) == []


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_a_fade_is_no_cut(level):
    def faded(frames, shares):
        mixed = (share * frame + (1 - share) * level for frame, share in zip(frames, shares, strict=True))
        return [(frame * 255).round() / 255 for frame in mixed]

    fall, rise = np.linspace(1, 0, 10), np.linspace(0, 1, 10)
    out = faded(sample()[:10], fall)
    assert find([*out, *faded(sample()[10:20], rise)]) == []
    assert find(faded(sample()[:10], rise)) == []  # nothing was seen before
    # Another scene out of the dark begins where it can be recognised: while that is faint.
    other = [frame.flip(-1) for frame in sample()[10:20]]
    (cut,) = find([*out, *faded(other, rise)])
    assert 10 < cut <= 13


def test_a_slow_dissolve_is_passed_over():
    first, second = torch.stack(sample()[:16]), torch.stack(shot("pan"))
    second = F.interpolate(second[:1], size=first.shape[-2:], mode="bilinear").expand(16, -1, -1, -1)
    share = torch.linspace(0, 1, 16)[:, None, None, None]
    assert find((1 - share) * first + share * second) == []


@pytest.mark.parametrize("deviation", [0.03, 0.1])
def test_noise_is_no_cut_and_hides_none(deviation):
    generator = torch.Generator().manual_seed(0)

    def noisy(frames):
        return [(f + deviation * torch.randn(f.shape, generator=generator)).clamp(0, 1) for f in frames]

    still = [area_average(shot("object")[0], 2)] * 8
    other = [area_average(shot("sample")[0], 2)] * 8
    assert find(noisy([torch.full((3, 45, 80), 0.5)] * 12)) == []
    assert find(noisy([*still, *other])) == [8]


@pytest.mark.parametrize("share", [0.05, 0.1])
def test_a_fast_pan_is_no_cut(share):
    """There and back over a texture; it starts from rest and stops at once."""
    step = share * WIDTH
    frames = [grey_frame(background(similarity(j, (step, step / 3)))) for j in (0, 0, 1, 2, 3, 2, 1, 0, 0)]
    assert find(frames) == []
    assert find(area_average(frame, 4) for frame in frames) == []


def test_what_suddenly_covers_a_third_of_the_frame_is_no_cut():
    ground, cover = background(similarity(0)), texture(HEIGHT, WIDTH, 21)
    frames = [ground.copy() for _ in range(8)]
    for frame in frames[3:6]:
        cv2.rectangle(mask := np.zeros_like(frame), (20, 10), (90, 90), 1.0, cv2.FILLED)
        assert 0.25 < mask.mean() < 0.35
        np.copyto(frame, cover, where=mask > 0)
    assert find(map(grey_frame, frames)) == []


def test_after_black_a_picture_begins_a_shot_if_it_comes_at_once():
    black = [torch.zeros_like(sample()[0])] * 3
    assert find([*black, *sample()]) == [3]
    assert find([*sample()[:9], *black, *(frame.flip(-1) for frame in sample())]) == [12]
    assert find([*sample()[:9], *black, *sample()[9:]]) == []


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (6, 5), (18, 22)])
def test_frames_of_any_size(size):
    generator = torch.Generator().manual_seed(0)
    frame = torch.rand(3, *size, generator=generator)
    assert find([frame] * 4) == []
    assert find([torch.zeros(3, *size)] * 3) == []


def test_a_fast_turn_is_no_cut():
    assert find(grey_frame(background(similarity(j, rotation=8.0, centre=(80.0, 60.0)))) for j in range(6)) == []
