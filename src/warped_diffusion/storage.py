"""Clips and results at URLs, as fsspec knows them (s3://, gs://, file://): brought here, restored here and sent back.

The journal of a clip is sent whenever something new is in it, so that another machine can go on with it.
"""

import io
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, cast

from warped_diffusion.errors import NotFiniteError, UserError

Kept = Callable[[Path], None]
"""Told of a journal's folder whenever something new is safely in it."""


def place(given: str) -> Path:
    """A path; for a URL, what has the methods of one.

    Raises: UserError for a URL of a kind that is not known, or without the library.
    """
    if "://" not in given:
        return Path(given)
    try:
        from upath import UPath
    except ImportError as error:
        raise UserError(
            f'{given} is a URL, and universal-pathlib is not installed: pip install "warped-diffusion[cluster]"'
        ) from error
    try:
        found = UPath(given)
        _ = found.fs  # the library of its protocol
    except (ImportError, ValueError) as error:
        raise UserError(f"{given} cannot be used: {error}") from error
    return cast(Path, found)


def is_remote(given: object) -> bool:
    """Whether it is what `place` makes of a URL."""
    return hasattr(given, "fs") and not isinstance(given, Path)


@contextmanager
def at_hand(source: Path, target: Path, part: str = "") -> Iterator[tuple[Path, Path, Kept]]:
    """Both as local files: themselves, or copies in a private folder, of which the target's is sent when it is whole.

    What an earlier run sent of the target's journal is fetched; the third sends the folder that it is called with. If
    that is gone in the end, it is removed where it was sent to, too. Of a clip that a model failed in, the frames that
    were kept are sent.

    Args:
        part: the name of a folder within the journal, which is then all that is fetched and sent.
    Raises: UserError where something cannot be fetched or sent, NotFiniteError with the place of what was kept.
    """
    if isinstance(source, Path) and isinstance(target, Path):
        yield source, target, lambda _: None
        return
    with TemporaryDirectory(prefix="warped-diffusion-") as folder:
        here = Path(folder) / target.name if not isinstance(target, Path) else target
        given = source if isinstance(source, Path) else Path(folder) / "input" / source.name
        if given != source:
            given.parent.mkdir()
            _fetch(source, given)
        if here == target:
            yield given, here, lambda _: None
            return
        kept_in = Path(f"{target.name}.journal", part)
        mirror, journal = Mirror(target.parent / str(kept_in)), Path(folder) / kept_in
        mirror.fetch(journal)
        try:
            yield given, here, mirror
        except NotFiniteError as error:
            kept = None if error.kept is None else _sent(error.kept, target.parent)
            mirror.settle(journal)
            raise NotFiniteError(error.frame, kept) from error
        except BaseException:
            mirror.settle(journal)
            raise
        if here.exists():
            _sent(here, target.parent)
        mirror.settle(journal)


class Mirror:
    """A journal's folder at a URL: a `Kept`.

    Files are sent before those that name them, and what nothing names any more is removed after, so that what is there
    can be gone on with whenever it is.
    """

    def __init__(self, folder: Any) -> None:
        self.folder = folder
        self._sent: dict[str, tuple[int, int]] = {}

    def fetch(self, here: Path) -> None:
        """Bring what is there."""
        if not self.folder.exists():
            return
        for file in self.folder.rglob("*"):
            if file.is_file():
                name = str(file.relative_to(self.folder))
                (here / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                _fetch(file, here / name)
                self._sent[name] = _version(here / name)

    def __call__(self, here: Path) -> None:
        files = [file for file in here.rglob("*") if file.is_file() and file.name != "lock" and file.suffix != ".part"]
        now = {str(file.relative_to(here)): _version(file) for file in sorted(files, key=_names_others)}
        for name, version in now.items():
            if self._sent.get(name) != version:
                with (here / name).open("rb") as content:
                    _send(content, self.folder / name)
        for name in self._sent.keys() - now.keys():
            (self.folder / name).unlink(missing_ok=True)
        self._sent = now

    def settle(self, here: Path) -> None:
        """Remove what was sent if it is gone here: then nothing is left to go on with."""
        if not here.exists() and self.folder.exists():
            self.folder.fs.rm(self.folder.path, recursive=True)


def write_whole(target: Path, text: str) -> None:
    """Write a small file whole or not at all; its folder is made.   Raises: UserError if it cannot be written."""
    _send(io.BytesIO(text.encode()), target)


def append(target: Path, text: str) -> None:
    """Add to a small file's end, or begin it.   Raises: UserError if it cannot be written."""
    with _reported(target, "written"):
        if isinstance(target, Path):
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("a") as file:
                file.write(text)
            return
        before = target.read_text() if target.exists() else ""
    write_whole(target, before + text)


def _sent(here: Path, folder: Path) -> Path:
    """Where a file is once it is sent to a folder, under its own name."""
    with here.open("rb") as whole:
        _send(whole, folder / here.name)
    return folder / here.name


def _names_others(file: Path) -> int:
    return {"journal.json": 1, "index.json": 2}.get(file.name, 0)


def _version(file: Path) -> tuple[int, int]:
    stat = file.stat()
    return stat.st_size, stat.st_mtime_ns


def _fetch(source: Path, here: Path) -> None:
    with _reported(source, "fetched"), source.open("rb") as read, here.open("wb") as written:
        shutil.copyfileobj(read, written)


def _send(content: IO[bytes], target: Path) -> None:
    with _reported(target, "written"):
        if isinstance(target, Path):
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f"{target.name}.part")
            with partial.open("wb") as written:
                shutil.copyfileobj(content, written)
            partial.replace(target)
            return
        fs, key = target.fs, target.path
        fs.makedirs(target.parent.path, exist_ok=True)
        with fs.transaction, fs.open(key, "wb") as written:
            shutil.copyfileobj(content, written)


@contextmanager
def _reported(place: Path, how: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{place} cannot be {how}: {error.strerror or error}") from error
