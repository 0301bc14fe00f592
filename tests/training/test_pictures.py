"""Where pictures come from: what is drawn, what is passed over, and that a bad file is counted and no more."""

import json
import multiprocessing
import tracemalloc
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from tests.training.files import BROKEN, bomb, encoded, jpeg, number_of
from warped_diffusion.errors import UserError
from warped_diffusion.training.decoding import Unreadable, decode
from warped_diffusion.training.folders import chosen
from warped_diffusion.training.pictures import crop, framed, open_pictures

JPEG_ERROR = 12
"""Levels by which a coded picture may differ from the original, on average."""


@pytest.fixture
def folder(tmp_path):
    """Twelve pictures in two folders, and what a crawl leaves among them."""
    (tmp_path / "sub" / "deeper").mkdir(parents=True)
    for number in range(12):
        place = tmp_path / "sub" / "deeper" if number % 2 else tmp_path
        (place / f"{number}.{'JPG' if number % 3 else 'jpeg'}").write_bytes(jpeg(number))
    for name, data in BROKEN.items():
        (tmp_path / "sub" / f"{name}.jpg").write_bytes(data)
    (tmp_path / "sub" / "notes.md").write_text("no picture, and not called one")
    (tmp_path / "._0.jpg").write_bytes(b"what a file system left")
    return tmp_path


def drawn(pictures, count=200):
    return [pictures.draw(i, np.random.default_rng([0, i])) for i in range(count)]


def fingerprint(pictures, indices):
    return [(i, zlib.crc32(pictures.draw(i, np.random.default_rng([5, i])).values.tobytes())) for i in indices]


def test_a_folder_gives_all_its_pictures_and_counts_what_is_broken(folder):
    train, held_out = open_pictures(str(folder)), open_pictures(str(folder), "held-out")
    seen, away = ({number_of(p.values) for p in drawn(one)} for one in (train, held_out))
    assert seen | away == set(range(12))
    assert not seen & away
    assert train.count + held_out.count == 16  # the broken ones are files like others until they are read
    assert set(train.bad) | set(held_out.bad) == {f"sub/{name}.jpg" for name in BROKEN}
    why = {**train.bad, **held_out.bad}
    assert why["sub/empty.jpg"] == "empty"
    assert "bomb" in why["sub/bomb.jpg"]
    assert f"{train.count} pictures in" in train.describe()


def test_a_draw_depends_on_its_generator_alone(folder):
    one, other = open_pictures(str(folder)), open_pictures(str(folder))
    forwards = fingerprint(one, range(30))
    assert fingerprint(other, reversed(range(30))) == forwards[::-1]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(fingerprint, (one, range(20, 30))) == forwards[20:]


def test_captions_are_beside_pictures_or_in_lists(folder):
    (folder / "0.txt").write_text("nought\n")
    (folder / "captions.json").write_text(json.dumps({"0.jpeg": "not this", "2.JPG": "two"}))
    rows = [{"file_name": "deeper/1.JPG", "text": "one"}, {"file_name": "deeper/none.jpg", "text": "gone"}]
    (folder / "sub" / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    both = (open_pictures(str(folder), split) for split in ("train", "held-out"))
    captions = {number_of(p.values): p.caption for pictures in both for p in drawn(pictures)}
    assert captions == dict.fromkeys(range(12), "") | {0: "nought", 1: "one", 2: "two"}


@pytest.mark.parametrize("text", ["[1, 2]", "{", '{"file_name": "a"}'])
def test_a_broken_list_of_captions_is_one_sentence(folder, text):
    (folder / "metadata.jsonl").write_text(text)
    with pytest.raises(UserError, match=r"metadata\.jsonl is no list of captions .*a line of metadata\.jsonl is"):
        open_pictures(str(folder))


def test_held_out_pictures_stay_so_when_others_come():
    names = [f"{number}.jpg" for number in range(2000)]
    away = chosen(names, "held-out")
    assert 20 < len(away) < 60  # of 40, deviation 6.3
    assert set(away) & set(names[:1000]) == set(chosen(names[:1000], "held-out"))
    assert sorted(away + chosen(names, "train")) == sorted(names)
    assert len(chosen(names[:2], "held-out")) == len(chosen(names[:2], "train")) == 1
    assert chosen(["one"], "held-out") == chosen(["one"], "train") == ["one"]


def test_a_folder_of_nothing_but_broken_pictures_ends_the_run(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no")
    pictures = open_pictures(tmp_path)
    with pytest.raises(UserError, match=r"100 pictures in a row of .* could not be read, the last was a\.jpg"):
        pictures.draw(0, np.random.default_rng(0))
    assert list(pictures.bad) == ["a.jpg"]


@pytest.mark.parametrize("source", ["nowhere", "nowhere/{0..2}.tar", "hf:nowhere/at all"])
def test_pictures_that_are_not_there_are_one_sentence(source):
    with pytest.raises(UserError, match="nowhere"):
        open_pictures(source)


def test_a_source_without_pictures_and_a_wrong_split_are_one_sentence(tmp_path):
    with pytest.raises(UserError, match="holds no pictures"):
        open_pictures(tmp_path)
    with pytest.raises(UserError, match="'test'"):
        open_pictures(tmp_path, "test")


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_not_decoded(name):
    with pytest.raises(Unreadable):
        decode(BROKEN[name])


def test_a_picture_too_large_is_refused_before_it_takes_memory():
    """4 000 megapixels are refused by Pillow, 100 by us; neither takes a thousandth of its size."""
    for side in (65_000, 10_000):
        tracemalloc.start()
        with pytest.raises(Unreadable, match=r"pixels"):
            decode(bomb(side))
        assert tracemalloc.get_traced_memory()[1] < 2**20
        tracemalloc.stop()


def test_every_kind_of_picture_comes_as_rgb():
    colour = np.tile(np.uint8([200, 100, 50]), (8, 12, 1))
    grey = np.full((8, 12), 77, np.uint8)
    for form in ("JPEG", "PNG", "WEBP"):
        assert abs(decode(encoded(colour, form)).astype(int) - colour).mean() < JPEG_ERROR
    assert (decode(encoded(grey, "PNG")) == 77).all()
    assert (decode(encoded(grey.astype(np.uint16) * 256 + 3, "PNG")) == 77).all()
    clear = np.concatenate([colour, np.zeros((8, 12, 1), np.uint8)], -1)
    assert (decode(encoded(clear, "PNG")) == 255).all()
    palette = Image.fromarray(colour).quantize(4)
    assert decode(encoded(np.array(palette.convert("RGB")), "PNG")).shape == (8, 12, 3)
    with pytest.raises(Unreadable, match="no whole JPEG, PNG or WebP"):
        decode(encoded(colour, "GIF"))


def test_a_picture_stands_as_its_exif_says():
    values = np.zeros((8, 12, 3), np.uint8)
    values[:4] = 255
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned clockwise by a quarter
    upright = decode(encoded(values, "PNG", exif=turned))
    assert upright.shape == (12, 8, 3)
    assert (upright[:, 4:] == 255).all()
    assert (upright[:, :4] == 0).all()


def test_a_crop_is_a_piece_of_a_picture_turned_and_averaged():
    """In a picture whose red is x and whose green is y, a crop's colours tell where it lay."""
    y, x = np.meshgrid(np.arange(160), np.arange(200), indexing="ij")
    picture = np.stack([x, y, 0 * x], -1).astype(np.uint8)
    generator, seen = np.random.default_rng(0), set()
    for _ in range(60):
        red, green, _ = crop(picture, 24, generator) * 255
        steps = [float((colour[-1, -1] - colour[0, 0]) / 23) for colour in (red, green)]
        reduction, turned = round(abs(steps[0])), bool((red[0] - red[0, 0]).abs().max() < 1e-3)
        seen.add((reduction, turned, steps[0] > 0, steps[1] > 0))
        for colour, step, along_y in ((red, steps[0], turned), (green, steps[1], not turned)):
            plane = colour.mT if along_y else colour
            expected = plane[0, 0] + round(step) * torch.arange(24)
            torch.testing.assert_close(plane, expected.expand(24, 24), rtol=0, atol=1e-3)
            first = colour.min() - (reduction - 1) / 2  # a block's mean lies in the block's middle
            torch.testing.assert_close(first, first.round(), rtol=0, atol=1e-3)
    assert {reduction for reduction, *_ in seen} == {1, 2, 3}
    assert len({tuple(orientation) for _, *orientation in seen}) == 8


def test_flat_crops_are_mostly_passed_over_and_small_pictures_always():
    generator = np.random.default_rng(0)
    flat = np.full((32, 32, 3), 90, np.uint8)
    kept = sum(crop(flat, 16, generator) is not None for _ in range(400))
    assert 20 < kept < 64  # of 40, deviation 6
    for cut in (crop, framed):
        assert cut(flat, 33, generator) is None


@pytest.mark.parametrize(("size", "side"), [((120, 200), 24), ((200, 120), 24), ((24, 60), 24), ((40, 40), 40)])
def test_a_framed_picture_shows_its_shorter_side_whole_and_upright(size, side):
    """The gradients tell the place: across the shorter side they run from end to end, y always downwards."""
    y, x = np.meshgrid(*(np.linspace(0, 250, n) for n in size), indexing="ij")
    picture = np.stack([x, y, 0 * x], -1).astype(np.uint8)
    generator, mirrored, places = np.random.default_rng(0), 0, []
    for _ in range(200):
        red, green, _ = framed(picture, side, generator) * 255
        assert green[-1, 0] > green[0, 0]  # never upside down
        assert (red.std(0) < 3).all()  # nor turned
        mirrored += bool(red[0, -1] < red[0, 0])
        across, along = (green, red) if size[0] <= size[1] else (red, green)
        assert across.max() - across.min() > 250 * (1 - 2.5 / side)
        places.append(float(along.mean()))
    assert 70 < mirrored < 130  # of 100, deviation 7
    assert abs(np.mean(places) - 125) < 8
    if size[0] != size[1]:
        assert max(places) - min(places) > 50  # and not always the middle
