"""Where training pictures come from: packed, a folder of files, shards, a data set. A sample's number says which."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from warped_diffusion.errors import UserError
from warped_diffusion.tasks import area_average
from warped_diffusion.training.decoding import Picture
from warped_diffusion.training.folders import FolderPictures
from warped_diffusion.training.hub import open_data_set
from warped_diffusion.training.streams import open_shards

REDUCTIONS, REDUCTION_SHARES = (1, 2, 3), (0.35, 0.4, 0.25)
"""Pictures are used at full size, a half and a third: reduced photographs are as sharp as a video frame is."""

FLAT = 0.012
"""Crops whose standard deviation stays below this (sky, walls) are passed over nine times out of ten."""

SPLITS = ("train", "held-out")

ARCHIVES = (".tar", ".tar.gz", ".tgz")


class Pictures(Protocol):
    """One split of a source of pictures. It can be copied to worker processes."""

    @property
    def bad(self) -> Mapping[str, str]:
        """Pictures that this process met and could not read, and why; it only grows, at its end."""
        ...

    @property
    def count(self) -> int | None:
        """How many there are, None where nobody knows before the end."""
        ...

    def draw(self, index: int, generator: np.random.Generator) -> Picture:
        """The picture of sample `index`, the same whatever was asked for before, and in any process.

        Sources with random access take the one that `generator` draws, streams their record `index`. What cannot be
        read goes into `bad`, and the next one is taken.   Raises: UserError after 100 of those in a row.
        """
        ...

    def describe(self) -> str:
        """For people: how many pictures, from where."""
        ...


def open_pictures(source: str | Path, split: str = "train") -> Pictures:
    """The pictures of one split of a source.

    Args:
        source: a folder, packed by `scripts/pack_pictures.py` or of picture files (`FolderPictures`); WebDataset
            shards, "x-{00..11}.tar" (`open_shards`); a Hugging Face data set, "hf:NAME[:SPLIT]" (`open_data_set`).
        split: "train" or "held-out".
    Raises: UserError if there is no such source, nothing in it, or a library that it needs is missing.
    """
    name = str(source)
    if split not in SPLITS:
        raise UserError(f"pictures are divided into {' and '.join(SPLITS)}, got {split!r}")
    if name.startswith("hf:"):
        return open_data_set(name.removeprefix("hf:"), split)
    if name.endswith(ARCHIVES):
        return open_shards(name, split)
    if (Path(name) / "pictures.json").is_file():
        return PackedPictures(name, split)
    if Path(name).is_dir():
        return FolderPictures(name, split)
    raise UserError(
        f"there are no pictures {name!r}: give a folder of pictures, WebDataset shards as 'x-{{00..11}}.tar', or a "
        "Hugging Face data set as hf:NAME[:SPLIT]"
    )


def crop(picture: np.ndarray, side: int, generator: np.random.Generator) -> Tensor | None:
    """(3, side, side) in [0, 1]: a random place, reduction and orientation of (H, W, 3) uint8.

    None where the picture is too small, and mostly where the crop is flat: draw again.
    """
    reduction = int(generator.choice(REDUCTIONS, p=REDUCTION_SHARES))
    reduction = min(reduction, min(picture.shape[:2]) // side)
    if not reduction:
        return None
    top, left = (int(generator.integers(n - side * reduction + 1)) for n in picture.shape[:2])
    values = picture[top : top + side * reduction, left : left + side * reduction]
    values = np.rot90(values, int(generator.integers(4)))
    values = values[:, ::-1] if generator.random() < 0.5 else values
    piece = area_average(to_tensor(values), reduction)
    return piece if piece.std() > FLAT or generator.random() < 0.1 else None


def framed(picture: np.ndarray, side: int, generator: np.random.Generator) -> Tensor | None:
    """(3, side, side) in [0, 1]: as much as a square shows of (H, W, 3) uint8, reduced, at times mirrored.

    What its caption says is still to be seen, and the right way up: the shorter side is reduced to `side`, and the
    square lies at random along the longer one, in its middle more often than at its ends. None if it is too small.
    """
    short = min(picture.shape[:2])
    if short < side:
        return None
    height, width = (max(side, round(n * side / short)) for n in picture.shape[:2])
    values = cv2.resize(np.array(picture), (width, height), interpolation=cv2.INTER_AREA)
    top, left = (int(generator.integers(n - side + 1, size=2).sum()) // 2 for n in (height, width))
    values = values[top : top + side, left : left + side]
    return to_tensor(values[:, ::-1] if generator.random() < 0.5 else values)


def to_tensor(values: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 -> (3, H, W) in [0, 1]."""
    return torch.from_numpy(np.array(values)).permute(2, 0, 1).float() / 255


class PackedPictures:
    """The pictures of one split, read from the packed file as they are needed; larger ones are drawn more often.

    Raises: UserError if the folder does not hold packed pictures.
    """

    def __init__(self, folder: str | Path, split: str) -> None:
        index, self.data = Path(folder) / "pictures.json", Path(folder) / "pictures.bin"
        if not index.is_file() or not self.data.is_file():
            raise UserError(f"no packed pictures in {folder}: make them with scripts/pack_pictures.py")
        self.entries = [entry for entry in json.loads(index.read_text()) if entry["split"] == split]
        if not self.entries:
            raise UserError(f"{folder} holds no picture of the split {split!r}")
        areas = np.array([np.prod(entry["size"]) for entry in self.entries], float)
        self.shares = np.sqrt(areas) / np.sqrt(areas).sum()
        self.folder, self.bad = folder, dict[str, str]()

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, number: int) -> np.ndarray:
        """(height, width, 3) uint8."""
        entry = self.entries[number]
        return np.memmap(self.data, np.uint8, "r", entry["offset"], (*entry["size"], 3))

    @property
    def count(self) -> int:
        return len(self)

    def draw(self, index: int, generator: np.random.Generator) -> Picture:
        number = int(generator.choice(len(self), p=self.shares))
        return Picture(self[number], name=str(self.entries[number]["name"]))

    def describe(self) -> str:
        return f"{len(self)} pictures, packed, in {self.folder}"
