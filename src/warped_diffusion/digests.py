"""What tells files from each other: SHA-256 of what is in them."""

import hashlib
from functools import lru_cache
from pathlib import Path


def digest(path: Path) -> str:
    """ "sha256 ..." of a file, or of a folder: of the names and digests of all its files, in the order of their names.

    All is read, once in a process while a file's size and time of change stay as they are.   Raises: OSError.
    """
    if path.is_dir():
        files = sorted(place for place in path.rglob("*") if place.is_file())
        lines = (f"{file.relative_to(path).as_posix()} {_of_file(file)}\n" for file in files)
        return f"sha256 {hashlib.sha256(''.join(lines).encode(errors='surrogateescape')).hexdigest()}"
    return f"sha256 {_of_file(path)}"


def _of_file(path: Path) -> str:
    if not isinstance(path, Path):  # at a URL, where a change need not change the time
        return _read.__wrapped__(path)
    known = path.stat()
    return _read(path.absolute(), known.st_ino, known.st_size, known.st_mtime_ns)


@lru_cache(maxsize=2**12)
def _read(path: Path, *_: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
