"""A folder of picture files, with captions beside them or in a list."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from warped_diffusion.errors import UserError
from warped_diffusion.training.decoding import (
    MAX_CAPTION,
    SUFFIXES,
    Encoded,
    Picture,
    first_readable,
    read_file,
    require_pillow,
)

HELD_OUT = 50
"""One picture in so many is held out."""

LISTS = ("captions.json", "metadata.jsonl")


class FolderPictures:
    """The .jpg, .png and .webp files of one split under a folder; links to other folders are not followed.

    A picture's caption is in the .txt file of its name, or in a `captions.json`, {file: caption}, or `metadata.jsonl`,
    lines of {"file_name": file, "text": caption}, of any folder above it, files named from there. One in `HELD_OUT` is
    held out, by the hash of its path in the folder.

    Raises: UserError if there is no picture, or a list of captions cannot be read.
    """

    def __init__(self, folder: str | Path, split: str) -> None:
        require_pillow()
        self.folder, self.bad = Path(folder), dict[str, str]()
        files = sorted(_files(self.folder))
        names = [name for name in files if name.rpartition(".")[2].lower() in SUFFIXES]
        if not names:
            raise UserError(
                f"{folder} holds no pictures ({', '.join(SUFFIXES)}): give a folder of them; shards are given by their "
                "own names, as in 'shards/{00..11}.tar'"
            )
        self.names = chosen(names, split)
        lists = [name for name in files if name.rpartition("/")[2] in LISTS]
        self.captions = {name: text for listed in lists for name, text in _listed(self.folder, listed).items()}

    @property
    def count(self) -> int:
        return len(self.names)

    def draw(self, index: int, generator: np.random.Generator) -> Picture:
        """Any of them, with equal chances; `index` plays no part."""
        return first_readable(self._drawn(generator), self.bad, str(self.folder))

    def describe(self) -> str:
        return f"{len(self.names)} pictures in {self.folder}"

    def _drawn(self, generator: np.random.Generator) -> Iterator[Encoded]:
        while True:
            name = self.names[int(generator.integers(len(self.names)))]
            path = self.folder / name
            yield Encoded(name, partial(read_file, path), self._caption(path, name))

    def _caption(self, path: Path, name: str) -> str:
        try:
            with open(path.with_suffix(".txt"), encoding="utf-8", errors="replace") as file:
                return file.read(MAX_CAPTION).strip()
        except OSError:
            return self.captions.get(name, "")


def chosen(names: Sequence[str], split: str) -> list[str]:
    """The names of a split: one in `HELD_OUT` is held out, of few at least four or a quarter, as one may be broken.

    A single picture serves as both.
    """
    keys = {name: hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest() for name in names}
    below = sum(int(key[:12], 16) * HELD_OUT < 16**12 for key in keys.values())
    away = set(sorted(names, key=keys.__getitem__)[: max(below, 1, min(4, len(names) // 4))])
    kept = [name for name in names if (name in away) == (split == "held-out")]
    return kept or list(names)


def _files(folder: Path) -> Iterator[str]:
    """Paths from the folder, with slashes; hidden ones are left out."""
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith("."):
                yield (Path(place) / name).relative_to(folder).as_posix()


def _listed(folder: Path, name: str) -> Mapping[str, str]:
    """Captions by the pictures' paths from `folder`."""
    above = name.rpartition("/")[0]
    try:
        text = (folder / name).read_text(encoding="utf-8")
        if name.endswith(".jsonl"):
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
            captions = {str(row["file_name"]): str(row["text"]) for row in rows}
        else:
            captions = {str(file): str(caption) for file, caption in json.loads(text).items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{folder / name} is no list of captions ({type(error).__name__}: {error}): captions.json is "
            '{"FILE": "CAPTION"}, a line of metadata.jsonl is {"file_name": "FILE", "text": "CAPTION"}'
        ) from error
    return {f"{above}/{file}" if above else file: caption for file, caption in captions.items()}
