"""Which frames of a file a benchmark takes, what it makes of them, and the flow that it judges by."""

from pathlib import Path

import pytest
import torch

from tests.bench.moving import STEP, moving, written
from warped_diffusion.bench.real_clips import LONG_SIDE, RealClip, chosen, reduced
from warped_diffusion.errors import UserError
from warped_diffusion.estimators import fine_motion
from warped_diffusion.evaluate.moved import SAMPLE
from warped_diffusion.flow import displacement
from warped_diffusion.tasks import area_average

CODED = 0.03
"""What H.264 at nearly no loss may change of a grey value; its colours have half the resolution."""


@pytest.mark.parametrize(
    ("text", "clip"),
    [
        ("a/b.mp4", RealClip(Path("a/b.mp4"))),
        ("a/b.mp4@76:137", RealClip(Path("a/b.mp4"), 76, 137)),
        ("b.mp4@:60/2", RealClip(Path("b.mp4"), None, 60, 2)),
        ("b.mp4@:/3", RealClip(Path("b.mp4"), None, None, 3)),
        ("me@home/4", RealClip(Path("me@home/4"))),
        ("me@1:2/b.mp4", RealClip(Path("me@1:2/b.mp4"))),
    ],
)
def test_a_clip_is_a_file_a_range_and_a_factor(text, clip):
    assert RealClip.parse(text) == clip
    assert RealClip.parse(str(clip)) == RealClip(Path(clip.path.name), clip.start, clip.stop, clip.shrink)


@pytest.mark.parametrize("text", ["b.mp4@5:5", "b.mp4@7:5", "b.mp4@:0", "b.mp4@1:2/0"])
def test_a_range_without_a_frame_is_one_sentence(text):
    with pytest.raises(UserError, match="a clip is FILE"):
        RealClip.parse(text)


def test_the_sample_is_the_default_and_no_two_clips_share_a_name():
    assert chosen(()) == [RealClip(SAMPLE)]
    several = [RealClip(Path("a/x.mp4"), 0, 8), RealClip(Path("a/x.mp4"), 8, 16)]
    assert chosen(several) == several
    with pytest.raises(UserError, match="two clips are called x-0-8"):
        chosen([several[0], RealClip(Path("b/x.mp4"), 0, 8)])


def test_frames_are_those_of_the_range_shrunk_and_cut_to_multiples_of_8(tmp_path):
    frames = moving(8, (76, 132)).mean(1, keepdim=True).expand(-1, 3, -1, -1)
    path = written(tmp_path / "clip.mp4", frames)
    footage = RealClip(path, 2, 7).read()
    torch.testing.assert_close(footage.frames, frames[2:7, :, :72, :128], rtol=0, atol=CODED)
    assert (footage.name, footage.frame_rate) == ("clip.mp4@2:7", 25)
    halved = RealClip(path, 2, 7, shrink=2).read(frames=3)
    torch.testing.assert_close(halved.frames, area_average(frames[2:5], 2)[..., :32, :64], rtol=0, atol=CODED)


def test_a_large_clip_is_made_small(tmp_path):
    path = written(tmp_path / "clip.mp4", moving(2, (64, LONG_SIDE + 8)))
    assert RealClip(path).read().frames.shape == (2, 3, 32, 200)
    assert RealClip(path, shrink=1).read().frames.shape == (2, 3, 64, LONG_SIDE + 8)


@pytest.mark.parametrize(
    ("frames", "clip", "sentence"),
    [
        (moving(3, (40, 64)), {"shrink": 2}, "smaller than 32 pixels"),
        (moving(3, step=(0, 0)), {}, "nothing moves in clip.mp4, 3 frames"),
    ],
)
def test_a_clip_that_is_of_no_use_is_one_sentence(tmp_path, frames, clip, sentence):
    with pytest.raises(UserError, match=sentence):
        RealClip(written(tmp_path / "clip.mp4", frames), **clip).read()


def test_repeated_frames_are_found(tmp_path):
    footage = RealClip(written(tmp_path / "clip.mp4", moving(6, still=(2, 5)))).read()
    assert footage.moving.tolist() == [True, False, True, True, False]
    assert "2 of them repeated" in str(footage)


def test_a_reduced_clip_is_what_8_bits_hold_of_the_area_average():
    frames = moving(2)
    low = reduced(frames, 4)
    torch.testing.assert_close(low, area_average(frames, 4), rtol=0, atol=0.5 / 255 + 1e-6)
    torch.testing.assert_close(low * 255, (low * 255).round(), rtol=0, atol=1e-4)
    assert reduced(frames, 1) is frames


def test_the_judges_flow_finds_a_known_step_and_a_repeat():
    motion = fine_motion(moving(4, still=(2,)))
    seen = motion.visible > 0.5
    assert seen.double().mean() > 0.85
    for maps, where, sign in ((motion.forward, seen, 1), (motion.backward, motion.known > 0.5, -1)):
        for pair, step in enumerate((STEP, (0, 0), STEP)):
            off = displacement(maps)[pair][where[pair]] - sign * torch.tensor(step, dtype=torch.float32)
            assert off.norm(dim=-1).median() < 0.1  # DIS between 8-bit pictures of this texture: 0.02 as a rule
