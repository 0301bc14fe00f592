"""Pictures in their places, labels beside them."""

import cv2
import pytest
import torch

from warped_diffusion.errors import ShapeError, UserError
from warped_diffusion.video import film_strip, side_by_side, write_picture
from warped_diffusion.video.sheet import GAP, PAPER


def picture(height=30, width=41, seed=0):
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


def test_frames_stand_side_by_side_unchanged_under_their_labels():
    frames = [picture(seed=j) for j in range(3)]
    sheet = side_by_side(frames, ["input", "each frame alone", "restored"])
    assert sheet.shape[-2] % 2 == 0
    assert sheet.shape[-1] % 2 == 0
    head = (sheet.shape[-2] - 30) // 2 * 2
    for j, frame in enumerate(frames):
        left = j * (41 + GAP)
        assert torch.equal(sheet[:, head : head + 30, left : left + 41], frame)
        label = sheet[:, :head, left : left + 41]
        assert label.max() > PAPER + 0.3
        assert torch.all(label[:, [0, -1]] == PAPER)  # letters within their strip
        assert torch.all(label[:, :, [0, -1]] == PAPER)
    assert 0 <= sheet.min()
    assert sheet.max() <= 1


def test_a_film_strip_is_a_grid():
    rows = [[picture(seed=3 * i + j) for j in range(3)] for i in range(2)]
    plain = film_strip(rows)
    assert plain.shape == (3, 2 * 30 + GAP, 3 * 41 + 2 * GAP)
    assert torch.equal(plain[:, 34:64, 45:86], rows[1][1])
    labelled = film_strip(rows, ["input", "restored"], ["frame 0", "frame 8", "frame 23"])
    assert torch.equal(labelled[:, -64:, -131:], plain)


def test_a_picture_is_saved_as_it_is(tmp_path):
    write_picture(tmp_path / "sheet.png", picture())
    read = cv2.imread(str(tmp_path / "sheet.png"))[..., ::-1].copy()
    torch.testing.assert_close(torch.from_numpy(read).permute(2, 0, 1), (picture() * 255).round().to(torch.uint8))
    with pytest.raises(UserError, match="cannot be written"):
        write_picture(tmp_path / "no" / "sheet.png", picture())


@pytest.mark.parametrize(
    ("frames", "labels", "match"),
    [
        ([], [], "no frames"),
        ([picture(), picture()], ["one"], "1 column labels for 2"),
        ([picture(), picture(height=31)], ["one", "two"], "one height"),
        ([picture()[None]], ["one"], r"\(3, H, W\)"),
    ],
)
def test_what_does_not_fit_is_refused(frames, labels, match):
    with pytest.raises(ShapeError, match=match):
        side_by_side(frames, labels)


def test_rows_must_be_alike():
    with pytest.raises(ShapeError, match="alike"):
        film_strip([[picture()], [picture(), picture()]])
