"""Shards: sample i is record i, wherever it is asked for, and what is broken is counted and passed over."""

import io
import json
import pickle
import sys
import tarfile

import numpy as np
import pytest
from torch.utils.data import DataLoader, Dataset

from tests.training.files import BROKEN, jpeg, number_of
from tests.training.packed import tiny_config
from warped_diffusion.errors import UserError
from warped_diffusion.training import streams
from warped_diffusion.training.data import Samples
from warped_diffusion.training.pictures import open_pictures

GENERATOR = np.random.default_rng(0)
PER_SHARD = 10


def write_shard(path, members):
    with tarfile.open(path, "w") as file:
        for name, data in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            file.addfile(entry, io.BytesIO(data))


def record(number):
    """As COYO is kept: the caption in a text file or in JSON."""
    told = {"caption": f"picture {number}", "width": 88} if number % 2 else {"text": f"picture {number}"}
    caption = (f"{number:06}.txt", f"picture {number}\n".encode())
    caption = caption if number % 3 else (f"{number:06}.json", json.dumps(told).encode())
    return [(f"{number:06}.jpg", jpeg(number)), caption, (f"{number:06}.npy", b"not looked at")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four shards of ten records, numbered through, of which records 5, 12, 13, 21 and 22 are broken."""
    folder = tmp_path_factory.mktemp("shards")
    broken = dict(zip((5, 12, 13, 21), BROKEN.values(), strict=True))
    for shard in range(4):
        members = []
        for number in range(shard * PER_SHARD, (shard + 1) * PER_SHARD):
            members += [(f"{number:06}.jpg", broken[number])] if number in broken else record(number)
            members = members[:-3] + members[-2:] if number == 22 else members  # its picture is gone
        write_shard(folder / f"{shard:02}.tar", members)
    return folder


@pytest.fixture
def few_held_out(monkeypatch):
    monkeypatch.setattr(streams, "HELD_OUT", 4)


@pytest.fixture
def shards(folder, few_held_out):
    return open_pictures(f"{folder}/{{00..03}}.tar")


def expected(index):
    """The record of sample `index`: the first whole one from there on, of those after the four held out."""
    position = index % 36 + 4
    while position in (5, 12, 13, 21, 22):
        position += 1
    return position


def told(pictures, index):
    picture = pictures.draw(index, GENERATOR)
    assert picture.caption == f"picture {number_of(picture.values)}"
    return number_of(picture.values)


def test_sample_i_is_record_i_round_and_round(shards):
    assert [told(shards, i) for i in range(80)] == [expected(i) for i in range(80)]
    assert shards.count == 36
    names = [f"{number // 10:02}.tar/{number:06}" for number in (5, 12, 13, 21, 22)]
    assert list(shards.bad) == names
    assert shards.bad[names[-1]].startswith("no jpg")
    assert shards.describe().startswith("4 shards (")


@pytest.mark.parametrize("kept", [1, 3, 128])
def test_sample_i_is_the_same_in_any_order(shards, kept, monkeypatch):
    monkeypatch.setattr(streams, "KEPT", kept)
    order = np.random.default_rng(1).permutation(70)
    assert [told(shards, i) for i in order] == [expected(i) for i in order]
    assert told(pickle.loads(pickle.dumps(shards)), 17) == expected(17)


def test_a_sample_asked_for_alone_is_the_same(shards, folder):
    for index in (0, 8, 35, 36, 100):
        assert told(open_pictures(f"{folder}/{{00..03}}.tar"), index) == expected(index)


class Drawn(Dataset):
    def __init__(self, pictures):
        self.pictures = pictures

    def __len__(self):
        return 60

    def __getitem__(self, index):
        return told(self.pictures, index)


def test_worker_processes_read_the_same(folder):
    """What was drawn before they started does not move their place; no worker gets shards of its own."""
    pictures = open_pictures(f"{folder}/{{00..03}}.tar", "held-out")
    drawn = Drawn(pictures)
    before = [drawn[i] for i in range(5)]
    loader = DataLoader(drawn, batch_size=3, num_workers=2)
    came = [int(i) for batch in loader for i in batch]
    assert came[:5] == before
    assert came == [drawn[i] for i in range(60)]


def test_samples_take_the_next_record_for_one_that_is_too_small(few_held_out, tmp_path):
    """Of records 4 to 13, after those held out, 5 and 6 are small: samples 1 and 2 are of picture 7, as sample 3 is."""
    members = [(f"{n}.jpg", jpeg(n, (20, 20) if n in (5, 6) else (72, 88))) for n in range(14)]
    write_shard(tmp_path / "a.tar", [part for n in range(14) for part in (members[n], (f"{n}.txt", b"%d" % n))])
    samples = Samples(open_pictures(tmp_path / "a.tar"), tiny_config(tmp_path, model="a/checkpoint", scales=(4,)))
    batch = samples.samples(range(12))
    assert batch["caption"] == ["4", "7", "7", *map(str, range(7, 14)), "4", "7"]
    assert batch["bad"] == [f"a.tar/{n}: too small, 20x20 for crops of 24" for n in (5, 6)]
    assert samples.samples([2, 1])["caption"] == ["7", "7"]


def test_held_out_records_are_the_first(folder, few_held_out):
    held_out = open_pictures(f"{folder}/{{00..03}}.tar", "held-out")
    assert [told(held_out, i) for i in range(10)] == [i % 4 for i in range(10)]


def test_a_shard_that_breaks_off_is_counted_and_the_next_one_read(folder, few_held_out, tmp_path):
    whole = (folder / "00.tar").read_bytes()
    fourth = whole.index(b"000003.jpg") + 512  # cut between pictures, an archive looks whole
    (tmp_path / "0.tar").write_bytes(whole[: fourth + 300])
    (tmp_path / "1.tar").write_bytes(b"no archive")
    (tmp_path / "2.tar").write_bytes((folder / "03.tar").read_bytes())
    pictures = open_pictures(f"{tmp_path}/{{0..2}}.tar")
    seen = [told(pictures, i) for i in range(20)]
    assert seen == [*range(31, 40), *range(31, 40), 31, 32]  # three whole records and the next are held out
    assert set(pictures.bad) == {f"{tmp_path}/0.tar", f"{tmp_path}/1.tar"}
    assert "shard not read to its end" in pictures.bad[f"{tmp_path}/1.tar"]


def test_a_record_that_is_too_large_is_counted(folder, few_held_out, monkeypatch):
    monkeypatch.setattr(streams, "MAX_BYTES", 100)
    pictures = open_pictures(f"{folder}/00.tar")
    with pytest.raises(UserError, match="100 pictures in a row"):
        pictures.draw(0, GENERATOR)
    assert "MiB encoded" in pictures.bad["00.tar/000004"]


@pytest.mark.parametrize("members", [[], record(1)])
def test_shards_with_nothing_to_train_on_are_one_sentence(tmp_path, members):
    write_shard(tmp_path / "a.tar", members)
    with pytest.raises(UserError, match=r"gave no picture.*the first 64 are held out"):
        open_pictures(tmp_path / "a.tar")


def test_no_command_is_run(tmp_path):
    with pytest.raises(UserError, match="would run a command"):
        open_pictures(f"pipe:touch {tmp_path}/ran; cat x.tar")
    assert not (tmp_path / "ran").exists()


def test_a_missing_library_is_one_sentence(folder, monkeypatch):
    for name in ("webdataset.shardlists", "datasets", "PIL"):
        monkeypatch.setitem(sys.modules, name, None)
    for source in (f"{folder}/00.tar", "hf:some/thing", str(folder)):
        with pytest.raises(UserError, match=r'pip install "warped-diffusion\[train\]"'):
            open_pictures(source)
