"""Which clips a source holds, what they are called, how they are cut, and that nothing is read before its turn."""

import json

import pytest
import torch

from tests.bench.moving import moving
from tests.evaluate.files import FRAMES, SIZE, small, write_frames, write_video
from warped_diffusion.errors import UserError
from warped_diffusion.evaluate.clips import MOTIONS, all_clips, framed, open_clips, safe_name
from warped_diffusion.metrics import warping_error
from warped_diffusion.video import write_picture

CODED = 0.03
"""What H.264 at nearly no loss may change of a grey value on the mean; its colours have half the resolution."""
SPLINE = 2e-4
"""Warping error of a true clip: what a quintic spline, twice, leaves of the shipped clip's detail."""


def test_a_folder_holds_its_videos_at_any_depth_with_their_captions(tmp_path):
    for name in ("b.mp4", "deep/a.mp4", "deep/b.mkv", ".hidden.mp4"):
        write_video(tmp_path / name)
    (tmp_path / "captions.json").write_text(json.dumps({"b.mp4": "a wall", "deep/a.mp4": "a door"}))
    found = {source.name: source.read() for source in open_clips(str(tmp_path), FRAMES, SIZE)}
    assert list(found) == ["b", "deep_a", "deep_b"]
    assert [clip.caption for clip in found.values()] == ["a wall", "a door", ""]
    assert all(clip.frames.shape == (FRAMES, 3, SIZE, SIZE) and clip.motion is None for clip in found.values())


def test_captions_may_be_lines_and_two_files_of_one_stem_keep_their_endings(tmp_path):
    for name in ("a.mp4", "a.mkv"):
        write_video(tmp_path / name)
    (tmp_path / "captions.csv").write_text('a.mp4,"a wall, white"\na.mkv,a door\n')
    found = {source.name: source.read().caption for source in open_clips(str(tmp_path), FRAMES, SIZE)}
    assert found == {"a.mp4": "a wall, white", "a.mkv": "a door"}


def test_a_list_of_captions_that_is_none_is_one_sentence(tmp_path):
    write_video(tmp_path / "a.mp4")
    (tmp_path / "captions.json").write_text("[]")
    with pytest.raises(UserError, match="is no list of captions"):
        open_clips(str(tmp_path))


def test_fetv_names_its_clips_by_identity_or_line_and_some_have_none(tmp_path):
    lines = [{"video_id": 77, "prompt": "a stream"}, {"video_id": 88, "prompt": "ours"}, {"video_id": 9, "prompt": "x"}]
    (tmp_path / "fetv_data.json").write_text("\n".join(map(json.dumps, lines)))
    write_video(tmp_path / "videos" / "77.mp4")
    write_video(tmp_path / "videos" / "2.mp4")
    found = {source.name: source.read().caption for source in open_clips(str(tmp_path), FRAMES, SIZE)}
    assert found == {"77": "a stream", "2": "x"}


def test_frames_in_folders_are_clips_and_masks_beside_them_are_not(tmp_path):
    frames = small()
    for name in ("bear", "swan"):
        write_frames(tmp_path / "JPEGImages" / "480p" / name, frames)
        write_frames(tmp_path / "Annotations" / "480p" / name, frames)
    found = open_clips(str(tmp_path), FRAMES, SIZE)
    assert [source.name for source in found] == ["480p_bear", "480p_swan"]
    torch.testing.assert_close(found[0].read().frames, frames, rtol=0, atol=0.51 / 255)
    (alone,) = open_clips(str(tmp_path / "JPEGImages" / "480p" / "bear"), 2, SIZE)
    assert alone.name == "bear"
    assert len(alone.read().frames) == 2


def test_a_broken_file_is_told_when_it_is_read_and_not_before(tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    write_video(tmp_path / "good.mp4")
    bad, good = open_clips(str(tmp_path), FRAMES, SIZE)
    with pytest.raises(UserError, match=r"bad\.mp4"):
        bad.read()
    assert (good.read().frames - small()).abs().mean() < CODED


def test_a_frame_is_made_small_to_hold_the_square_and_cut_around_its_centre(tmp_path):
    across = torch.linspace(0, 1, 96).expand(3, 64, -1)
    cut = framed(across, 32, tmp_path)
    assert cut.shape == (3, 32, 32)
    ramp = across[0, 0].reshape(-1, 2).mean(1)[8:40]  # half of 96 is 48, of which the middle 32 are kept
    torch.testing.assert_close(cut[0, 16], ramp, rtol=0, atol=1e-4)
    assert framed(torch.rand(3, 45, 71), None, tmp_path).shape == (3, 40, 64)
    with pytest.raises(UserError, match="smaller than 72"):
        framed(across, 72, tmp_path)


@pytest.mark.parametrize("motion", MOTIONS)
def test_synthetic_clips_move_as_they_say(motion):
    (source,) = open_clips(f"synthetic::{motion}", 16, 64)
    clip = source.read()
    assert source.name == clip.name == f"still-{motion}"
    assert clip.motion.frames == 16
    assert warping_error(clip.frames, clip.motion, "first") < SPLINE
    other = MOTIONS["zoom" if motion != "zoom" else "shift"](16, (64, 64))
    assert warping_error(clip.frames, other, "first") > 10 * SPLINE


def test_what_enters_from_beyond_the_first_frame_is_picture_too(tmp_path):
    """15 steps of (2, 1) pixels, and the spline's reach of 8, take a picture of 64 + 2 (30 + 8) a side as it is."""
    picture = moving(1, (140, 140))[0]
    write_picture(tmp_path / "wall.png", picture)
    (source,) = open_clips(f"synthetic:{tmp_path}:shift", 16, 64)
    frames = source.read().frames
    for j in (0, 7, 15):
        shown = picture[:, 38 - j : 102 - j, 38 - 2 * j : 102 - 2 * j]
        torch.testing.assert_close(frames[j], shown, rtol=0, atol=0.51 / 255)


def test_pictures_of_a_folder_are_moved_in_every_way_asked_for(tmp_path):
    write_picture(tmp_path / "wall.png", moving(1, (120, 140))[0])
    found = open_clips(f"synthetic:{tmp_path}", 4, 64, ("shift", "rotation"))
    assert [source.name for source in found] == ["wall-shift", "wall-rotation"]
    assert found[1].read().frames.shape == (4, 3, 64, 64)
    (one,) = open_clips(f"synthetic:{tmp_path}:zoom", 4, 64)
    assert one.name == "wall-zoom"
    (large,) = open_clips(f"synthetic:{tmp_path}:shift", 4, 128)
    with pytest.raises(UserError, match="smaller than"):
        large.read()


def test_the_sample_ships():
    (source,) = open_clips("sample", 2, 64)
    assert source.read().frames.shape == (2, 3, 64, 64)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (("nowhere",), "does not exist"),
        (("sample", 1), "frames is 1"),
        (("sample", 4, 30), "multiple of 8"),
        (("synthetic::", 4, 64, ("fall",)), "motion 'fall' is not known"),
    ],
)
def test_what_cannot_be_opened_is_one_sentence(given, sentence):
    with pytest.raises(UserError, match=sentence):
        open_clips(*given)


def test_no_two_clips_share_a_name_and_names_are_safe():
    with pytest.raises(UserError, match="two clips are called sample"):
        all_clips(["sample", "sample"])
    assert safe_name("../a b/ü.mp4") == "_a_b_.mp4"
