"""Data sets that the library `datasets` reads: of Hugging Face's hub, or of a folder."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from warped_diffusion.errors import UserError
from warped_diffusion.training.decoding import (
    MAX_BYTES,
    Encoded,
    Picture,
    Unreadable,
    first_readable,
    missing,
    require_pillow,
)
from warped_diffusion.training.folders import HELD_OUT
from warped_diffusion.training.streams import CAPTIONS, Stream

COLUMNS = ("image", "picture", "jpg", "jpeg", "png", "webp")
"""Names of a column of pictures, where its type does not tell."""

ROWS = 16
"""Read at a time."""


def open_data_set(source: str, split: str) -> "Stream | SavedPictures":
    """One split of a data set with a column of pictures and, perhaps, one of captions.

    Args:
        source: NAME[:SPLIT] on the hub or FOLDER[:SPLIT]; SPLIT is the data set's own, "train" if it is left out, and
            is divided again. What `save_to_disk` wrote is read in any order, all else as a stream.
    Raises: UserError if the library is missing, there is no such data set or split, or it has no pictures.
    """
    try:
        import datasets
    except ImportError as error:
        raise missing("datasets", error) from error
    name, colon, part = source.rpartition(":")
    if not colon or Path(source).exists():
        name, part = source, "train"
    saved = any((Path(name) / file).is_file() for file in ("state.json", "dataset_dict.json"))
    try:
        if not saved:
            data = datasets.load_dataset(name, split=part, streaming=True)
        else:
            data = datasets.load_from_disk(name)
            data = data[part] if isinstance(data, datasets.DatasetDict) else data
        picture, captions = _columns(data, datasets.Image, name)
    except (OSError, ValueError, KeyError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"no data set {name!r} with a split {part!r} ({type(error).__name__}: {error})") from error
    data = data.select_columns([picture, *captions])
    if data.features is not None:  # of lists of files nothing is known, and rows come as they are
        data = data.cast_column(picture, datasets.Image(decode=False))
    about = f"data set {name}, split {part}"
    if saved:
        return SavedPictures(data, picture, about, split)
    return Stream(partial(_rows, data, picture, about), about, split)


class SavedPictures:
    """One split of a data set on disk, rows in any order; one in `HELD_OUT` is held out.

    Raises: UserError if it is empty.
    """

    def __init__(self, data: Any, column: str, about: str, split: str) -> None:
        require_pillow()
        self.data, self.column, self.about, self.bad = data, column, about, dict[str, str]()
        if not len(data):
            raise UserError(f"{about} has no rows")
        away = -(-len(data) // HELD_OUT)
        self.held_out = split == "held-out" or len(data) == 1
        self.count = away if self.held_out else len(data) - away

    def draw(self, index: int, generator: np.random.Generator) -> Picture:
        """Any of them, with equal chances; `index` plays no part."""
        return first_readable(self._drawn(generator), self.bad, self.about)

    def describe(self) -> str:
        return f"{self.count} pictures of {self.about}"

    def _drawn(self, generator: np.random.Generator) -> Iterator[Encoded]:
        while True:
            number = int(generator.integers(self.count))
            # rows 0, 50, 100 ... are held out
            row = number * HELD_OUT if self.held_out else number + number // (HELD_OUT - 1) + 1
            yield _encoded(self.data[row], self.column, f"row {row}")


def _columns(data: Any, image: type, name: str) -> tuple[str, list[str]]:
    """The column of pictures, and that of captions if there is one."""
    features: Mapping[str, Any] = data.features or dict.fromkeys(next(iter(data), {}))
    typed = [column for column, feature in features.items() if isinstance(feature, image)]
    pictures = typed or [column for column in COLUMNS if column in features]
    if not pictures:
        raise UserError(
            f"data set {name} has no column of pictures, its columns are {', '.join(features)}: give one that has"
        )
    return pictures[0], [column for column in (*CAPTIONS, "txt") if column in features][:1]


def _rows(data: Any, column: str, about: str, bad: dict[str, str]) -> Iterator[Encoded]:
    """All rows once. Read in batches: row by row the library would give each worker process a part of its own."""
    number = 0
    try:
        for rows in data.iter(batch_size=ROWS):
            for values in zip(*rows.values(), strict=True):
                yield _encoded(dict(zip(rows, values, strict=True)), column, f"row {number}")
                number += 1
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{about} cannot be read beyond row {number} ({type(error).__name__}: {error})") from error


def _encoded(row: Mapping[str, Any], column: str, name: str) -> Encoded:
    told = next((value for key, value in row.items() if key != column), "")
    told = told[0] if isinstance(told, list) and told else told
    return Encoded(name, partial(_fetch, row[column]), told.strip() if isinstance(told, str) else "")


def _fetch(value: Mapping[str, Any] | bytes | str | None) -> bytes:
    """The bytes in a row, or of the file that it names."""
    told = value if isinstance(value, Mapping) else {"bytes": value} if isinstance(value, bytes) else {"path": value}
    data, path = told.get("bytes"), told.get("path")
    if isinstance(data, bytes):
        return data
    if not path:
        raise Unreadable("no picture in the row")
    from datasets.utils.file_utils import xopen

    with xopen(path, "rb") as file:
        return bytes(file.read(MAX_BYTES + 1))
