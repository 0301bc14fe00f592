"""Data sets of the library `datasets`, saved and streamed, without a hub."""

import datasets
import numpy as np
import pytest
from torch.utils.data import DataLoader, Dataset

from tests.training.files import BROKEN, jpeg, number_of
from warped_diffusion.errors import UserError
from warped_diffusion.training import streams
from warped_diffusion.training.pictures import open_pictures

ROWS = 40
BROKEN_ROWS = dict(zip((6, 13, 14, 22), BROKEN.values(), strict=True))


@pytest.fixture(scope="module")
def rows():
    """Forty rows with captions; four are broken, and one is empty."""
    pictures = [{"bytes": BROKEN_ROWS.get(n, jpeg(n)), "path": None} for n in range(ROWS)]
    pictures[30] = None
    names = [f"picture {n}" for n in range(ROWS)]
    features = datasets.Features({"url": datasets.Value("string"), "photo": datasets.Image()})
    data = datasets.Dataset.from_dict({"url": names, "photo": pictures}, features=features)
    return data.add_column("text", names)


@pytest.fixture(scope="module")
def parquet(rows, tmp_path_factory):
    """In four files, as many as there are parts that a worker could get."""
    folder = tmp_path_factory.mktemp("parquet")
    for part in range(4):
        rows.shard(4, part, contiguous=True).to_parquet(folder / f"train-{part}.parquet")
    return folder


@pytest.fixture(autouse=True)
def few_held_out(monkeypatch, tmp_path):
    monkeypatch.setattr(streams, "HELD_OUT", 4)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def told(pictures, index, seed=0):
    picture = pictures.draw(index, np.random.default_rng([seed, index]))
    assert picture.caption == f"picture {number_of(picture.values)}"
    return number_of(picture.values)


def expected(index):
    position = index % (ROWS - 4) + 4
    while position in (*BROKEN_ROWS, 30):
        position += 1
    return position


def test_a_saved_data_set_is_drawn_from_in_any_order(rows, tmp_path):
    rows.save_to_disk(tmp_path / "saved")
    pictures, again = (open_pictures(f"hf:{tmp_path}/saved") for _ in range(2))
    held_out = open_pictures(f"hf:{tmp_path}/saved", "held-out")
    first = [told(pictures, i) for i in range(300)]
    assert [told(again, i) for i in reversed(range(300))] == first[::-1]
    assert set(first) == set(range(1, ROWS)) - set(BROKEN_ROWS) - {30}
    assert {told(held_out, i) for i in range(20)} == {0}  # one row in fifty
    assert (pictures.count, held_out.count) == (ROWS - 1, 1)
    assert set(pictures.bad) == {f"row {n}" for n in (*BROKEN_ROWS, 30)}
    assert pictures.bad["row 30"] == "no picture in the row"


def test_every_row_of_a_large_saved_data_set_is_in_one_split(tmp_path):
    data = datasets.Dataset.from_dict({"image": [b"x"] * 149}, features=datasets.Features({"image": datasets.Image()}))
    data.save_to_disk(tmp_path / "saved")
    seen = {}
    for split in ("train", "held-out"):
        pictures = open_pictures(f"hf:{tmp_path}/saved", split)
        with pytest.raises(UserError, match="100 pictures in a row"):
            pictures.draw(0, np.random.default_rng(0))
        for i in range(20):
            with pytest.raises(UserError):
                pictures.draw(0, np.random.default_rng(i))
        seen[split] = set(pictures.bad)
    assert seen["held-out"] == {"row 0", "row 50", "row 100"}
    assert seen["train"] == {f"row {n}" for n in range(149) if n % 50}


def test_a_streamed_data_set_gives_row_i_in_any_order(parquet):
    pictures = open_pictures(f"hf:{parquet}:train")
    assert [told(pictures, i) for i in range(80)] == [expected(i) for i in range(80)]
    order = np.random.default_rng(1).permutation(70)
    assert [told(open_pictures(f"hf:{parquet}"), i) for i in order[:3]] == [expected(i) for i in order[:3]]
    assert [told(pictures, i) for i in order] == [expected(i) for i in order]
    held_out = open_pictures(f"hf:{parquet}", "held-out")
    assert [told(held_out, i) for i in range(6)] == [0, 1, 2, 3, 0, 1]
    assert set(pictures.bad) == {f"row {n}" for n in (*BROKEN_ROWS, 30)}
    assert pictures.count == ROWS - 4
    assert "streamed" in pictures.describe()


class Drawn(Dataset):
    def __init__(self, pictures):
        self.pictures = pictures

    def __len__(self):
        return 40

    def __getitem__(self, index):
        return told(self.pictures, index)


def test_worker_processes_read_the_same_rows(parquet):
    drawn = Drawn(open_pictures(f"hf:{parquet}"))
    assert drawn[2] == expected(2)
    came = [int(i) for batch in DataLoader(drawn, batch_size=3, num_workers=2) for i in batch]
    assert came == [expected(i) for i in range(40)]


def test_a_list_of_files_is_streamed_by_their_paths(tmp_path):
    for n in range(6):
        (tmp_path / f"{n}.jpg").write_bytes(jpeg(n))
    rows = [f"{tmp_path}/{n}.jpg,picture {n}\n" for n in range(6)]
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "train.csv").write_text("image,caption\n" + "".join(rows) + f"{tmp_path}/none.jpg,gone\n")
    pictures = open_pictures(f"hf:{tmp_path}/list")
    assert {told(pictures, i) for i in range(3)} == {4, 5}
    assert list(pictures.bad) == ["row 6"]


def test_a_folder_of_files_is_streamed_by_their_paths(tmp_path):
    (tmp_path / "metadata.jsonl").write_text(
        "".join(f'{{"file_name": "{n:02}.jpg", "text": "picture {n}"}}\n' for n in range(6))
    )
    for n in range(6):
        (tmp_path / f"{n:02}.jpg").write_bytes(jpeg(n))
    pictures = open_pictures(f"hf:{tmp_path}")
    assert {told(pictures, i) for i in range(2)} == {4, 5}


def test_what_is_no_data_set_of_pictures_is_one_sentence(tmp_path, parquet):
    with pytest.raises(UserError, match=r"no data set .* with a split 'test'"):
        open_pictures(f"hf:{parquet}:test")
    datasets.Dataset.from_dict({"url": ["a"]}).save_to_disk(tmp_path / "saved")
    with pytest.raises(UserError, match=r"no column of pictures, its columns are url"):
        open_pictures(f"hf:{tmp_path}/saved")
    datasets.Dataset.from_dict({"url": ["a"]}).to_parquet(tmp_path / "parquet" / "train.parquet")
    with pytest.raises(UserError, match=r"no column of pictures, its columns are url"):
        open_pictures(f"hf:{tmp_path}/parquet")
