"""Masks out of pictures, folders, videos and alpha channels."""

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
import torch

from tests.video.clips import make_clip
from warped_diffusion.errors import UserError
from warped_diffusion.video import AlphaChannel, MaskFile

SIZE = (24, 32)


def level(value):
    return np.full(SIZE, value, np.uint8)


def write(path, values):
    cv2.imwrite(str(path), values)
    return path


def square():
    values = level(0)
    values[4:12, 6:20] = 255
    return values


@pytest.mark.parametrize("name", ["mask.png", "mask.bmp", "mask.tif", "mask.webp"])
def test_a_picture_is_one_mask(tmp_path, name):
    file = MaskFile(write(tmp_path / name, square()), 7, 9)
    assert torch.equal(file.one, torch.from_numpy(square())[None].float() / 255)


def test_a_folder_is_read_in_natural_order_and_only_where_it_is_wanted(tmp_path):
    for number in (10, 9, 2, 1, 11):
        write(tmp_path / f"m{number}.png", level(number))
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / ".m3.png").write_text("hidden")

    def levels(*bounds):
        return [round(float(mask.mean()) * 255) for mask in MaskFile(tmp_path, *bounds)]

    assert levels() == [1, 2, 9, 10, 11]
    assert levels(1, 3) == [2, 9]
    (tmp_path / "m9.png").write_text("not a picture")
    assert levels(3) == [10, 11]
    assert MaskFile(tmp_path, 3).count == 2
    with pytest.raises(UserError, match="m9"):
        levels()
    with pytest.raises(UserError, match="holds 5 masks, none of them of frame 5"):
        MaskFile(tmp_path, 5)


def test_a_folder_of_one_is_one_mask(tmp_path):
    write(tmp_path / "only.png", square())
    assert MaskFile(tmp_path).one is not None


def test_a_video_has_a_mask_for_each_frame(tmp_path):
    frames = torch.stack([torch.full((3, *SIZE), j / 5) for j in range(6)])
    path = make_clip(tmp_path / "masks.mp4", frames)
    file = MaskFile(path, 2, 5)
    assert file.one is None
    assert file.count == 3
    means = [float(mask.mean()) for mask in file]
    assert all(mask.shape == (1, *SIZE) for mask in file)
    np.testing.assert_allclose(means, [0.4, 0.6, 0.8], atol=0.01)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("missing.png", "does not exist"), ("text.png", "text.png"), ("empty", "no picture"), ("alien", "no picture")],
)
def test_what_is_no_mask_is_told(tmp_path, name, sentence):
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "empty").mkdir()
    (tmp_path / "alien").mkdir()
    (tmp_path / "alien" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=sentence) as caught:
        MaskFile(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("codec", "name", "pixels"), [("qtrle", "a.mov", "argb"), ("ffv1", "a.mkv", "yuva444p")])
def test_what_is_transparent_is_a_hole(tmp_path, codec, name, pixels):
    with av.open(tmp_path / name, "w") as container:
        stream = container.add_stream(codec, rate=Fraction(25))
        stream.height, stream.width, stream.pix_fmt = *SIZE, pixels
        for j in range(4):
            values = np.full((*SIZE, 4), 200, np.uint8)
            values[..., 3] = 255 - square() if j != 2 else 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(values, format="rgba").reformat(format=pixels)))
        container.mux(stream.encode(None))
    masks = list(AlphaChannel(tmp_path / name, 1, 4))
    expected = torch.from_numpy(square())[None].float() / 255
    assert len(masks) == 3
    torch.testing.assert_close(masks[0], expected, rtol=0, atol=2 / 255)
    assert not masks[1].round().any()


def test_without_an_alpha_channel_there_is_none(tmp_path):
    path = make_clip(tmp_path / "plain.mp4", torch.zeros(2, 3, *SIZE))
    with pytest.raises(UserError, match="the input has no alpha channel, its pixels are yuv444p"):
        AlphaChannel(path)
