"""Pictures that come one after the other: sample i is record i. WebDataset shards are read so."""

import itertools
import json
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from warped_diffusion.errors import UserError
from warped_diffusion.training.decoding import (
    MAX_BYTES,
    SUFFIXES,
    TOO_LARGE,
    Encoded,
    Picture,
    Unreadable,
    first_readable,
    missing,
    require_pillow,
)

HELD_OUT = 64
"""So many records at the start are held out."""

KEPT = 128
"""Records that are kept, encoded, after they were passed, so that a step back needs no new start."""

CAPTIONS = ("caption", "text")
"""Names under which captions are looked for."""

NO_PICTURE = f"no {', '.join(SUFFIXES)} in the record"

OpenPass = Callable[[dict[str, str]], Iterator[Encoded]]
"""Reads all records once more, from the first on; what is wrong beyond a picture's own bytes goes into the dict."""


class Stream:
    """One split of endlessly repeated records. Forward is cheap, back by more than `KEPT` starts anew.

    A record that cannot be read is replaced by the next one that can.

    Args:
        open_pass: to be copied to worker processes, so no local function.
        about: what to call the source.
    Raises: UserError if it has no record, or none beyond the `HELD_OUT` first.
    """

    def __init__(self, open_pass: OpenPass, about: str, split: str) -> None:
        require_pillow()
        self.open_pass, self.about, self.split, self.bad = open_pass, about, split, dict[str, str]()
        self.count: int | None = None
        self._kept: OrderedDict[int, Encoded] = OrderedDict()
        self._restart()
        self._record(0)

    def __getstate__(self) -> dict[str, Any]:
        """All but the open files."""
        return self.__dict__ | {"_records": None, "_process": None, "_kept": OrderedDict()}

    def draw(self, index: int, generator: np.random.Generator) -> Picture:
        """Record `index`, or the next that can be read; `generator` plays no part."""
        return first_readable(map(self._record, itertools.count(index)), self.bad, self.about)

    def describe(self) -> str:
        return f"{self.about}, streamed"

    def _restart(self) -> None:
        first, end = (0, HELD_OUT) if self.split == "held-out" else (HELD_OUT, None)
        self._records = itertools.islice(self.open_pass(self.bad), first, end)
        self._next, self._process = 0, os.getpid()

    def _record(self, position: int) -> Encoded:
        if self._process != os.getpid():  # a copy of the parent's open file would move the parent's place in it, too
            self._restart()
        while True:
            position = position if self.count is None else position % self.count
            if position in self._kept:
                return self._kept[position]
            if position < self._next:
                self._restart()
            for record in self._records:
                self._kept[self._next] = record
                self._next += 1
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
                if self._next > position:
                    return record
            self._end()

    def _end(self) -> None:
        """The records are over: how many there are is known now."""
        if not self._next:
            why = next(iter(self.bad.items()), None)
            told = f"{why[0]}: {why[1]}" if why else f"the first {HELD_OUT} are held out, put fewer into a folder"
            raise UserError(f"{self.about} gave no picture to train on ({told})")
        self.count = self._next
        self._restart()


def open_shards(pattern: str, split: str) -> Stream:
    """WebDataset shards, as `webdataset` writes them, in the order of their names.

    A record is a picture with, perhaps, its caption in a .txt, or in a .json under one of `CAPTIONS`.

    Args:
        pattern: a .tar, local or of a web address, or several in braces, "x-{00..11}.tar".
    Raises: UserError if webdataset is missing, or a local shard.
    """
    try:
        from webdataset.shardlists import expand_urls
    except ImportError as error:
        raise missing("webdataset", error) from error
    if "pipe:" in pattern:
        raise UserError(f"{pattern!r} would run a command: give files or web addresses")
    urls = list(expand_urls(pattern))
    for url in urls:
        if "://" not in url and not Path(url).is_file():
            raise UserError(f"there is no shard {url}: give a .tar, or several as 'x-{{00..11}}.tar'")
    about = f"{len(urls)} shard{'s' * (len(urls) > 1)} ({pattern})"
    return Stream(partial(_read_shards, urls), about, split)


def _read_shards(urls: list[str], bad: dict[str, str]) -> Iterator[Encoded]:
    """All shards once. Not through `webdataset.WebDataset`, which gives each worker process shards of its own."""
    from webdataset.tariterators import tarfile_samples

    opened = ""

    def shards() -> Iterator[dict[str, str]]:
        nonlocal opened
        for opened in urls:
            yield {"url": opened}

    def note(error: Exception) -> bool:
        why = str(error.args[0]).partition(" @ ")[0] if error.args else ""
        bad.setdefault(opened, f"shard not read to its end ({type(error).__name__}: {why})")
        return True  # and go on, with the next one if need be

    for record in tarfile_samples(shards(), handler=note, select_files=_wanted):
        name = f"{record['__url__'].rpartition('/')[2]}/{record['__key__']}"
        data = next((record[suffix] for suffix in SUFFIXES if suffix in record), NO_PICTURE)
        data = data if len(data) <= MAX_BYTES else TOO_LARGE  # not to be kept
        yield Encoded(name, partial(_given, data), _caption(record))


def _wanted(name: str) -> bool:
    return name.rpartition(".")[2].lower() in (*SUFFIXES, "txt", "json")


def _given(data: bytes | str) -> bytes:
    """The bytes themselves; a text is why there are none."""
    if isinstance(data, str):
        raise Unreadable(data)
    return data


def _caption(record: dict[str, Any]) -> str:
    if "txt" in record:
        return str(record["txt"].decode("utf-8", "replace").strip())
    try:
        told = json.loads(record.get("json", b"{}"))
    except ValueError:
        return ""
    return next((str(told[name]) for name in CAPTIONS if told.get(name)), "") if isinstance(told, dict) else ""
