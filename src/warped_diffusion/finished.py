"""Which clips of a batch are finished: a small file for each says what it was made from, and how.

It is OUT_FOLDER/.restored/NAME.json, written once the restored clip is under its name.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from warped_diffusion.errors import UserError
from warped_diffusion.models import MODELS
from warped_diffusion.models.model import WEIGHTS

FOLDER = ".restored"

WITHOUT_A_SAY = ("device", "lanes")
"""Options that leave the result as it is, to rounding."""

HASHED = ("input", "file of mask", "file of model", "file of lora")

ASIDE = ("begin", "compare", "limits", "options", "overwrite", "progress")
"""Keywords of `restore_video` that are no options, or do not change its result."""

How = dict[str, Any]
"""Options and files that decide what comes out, in JSON's terms."""


def fingerprint(path: str | Path) -> str:
    """SHA-256 of a file, or of the names and contents of a folder's files.   Raises: UserError if it cannot be read."""
    path = Path(path)
    try:
        if path.is_file():
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        files = sorted(file for file in path.rglob("*") if file.is_file())
        parts = (f"{file.relative_to(path)} {fingerprint(file)}\n" for file in files)
        return hashlib.sha256("".join(parts).encode(errors="surrogateescape")).hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def described(keywords: Mapping[str, Any]) -> How:
    """What `restore_video` is told, as far as it decides the result: files by their contents.

    Raises: UserError for a file that cannot be read.
    """
    options = keywords["options"]
    how = {name: value for name, value in asdict(options).items() if name not in WITHOUT_A_SAY}
    how |= {name: value for name, value in keywords.items() if name not in ASIDE}
    lora = None if options.pretrained is None else options.pretrained.lora
    files = {"mask": keywords.get("mask"), "model": WEIGHTS if options.model in MODELS else options.model, "lora": lora}
    contents = {
        f"file of {name}": fingerprint(file)
        for name, file in files.items()
        if isinstance(file, str | Path) and Path(file).exists()
    }
    told = json.dumps(how | contents, default=str)
    return json.loads(told)  # as it will be read back: lists for tuples


def is_finished(target: Path, how: How, overwrite: bool = False) -> bool:
    """Whether the target was made in this way, of the input in `how`; not if it is missing or may be replaced.

    Raises: UserError if it was made from something else or in another way, or cannot be told.
    """
    if not target.exists():
        return False
    known = _read(target)
    differs = _differences(known, target, how)
    if differs and not overwrite:
        raise UserError(f"{target} exists and {differs}: give another folder, or replace it with --overwrite")
    return not differs


def mark(target: Path, how: How) -> None:
    """Note that the target is finished.   Raises: UserError if that cannot be written."""
    place = _place(target)
    note = {"bytes": target.stat().st_size, "how": how}
    try:
        place.parent.mkdir(exist_ok=True)
        partial = place.with_suffix(".part")
        partial.write_text(json.dumps(note, indent=1))
        partial.replace(place)
    except OSError as error:
        raise UserError(f"{place} cannot be written: {error.strerror}") from error


def _place(target: Path) -> Path:
    return target.parent / FOLDER / f"{target.name}.json"


def _read(target: Path) -> dict[str, Any] | None:
    try:
        known = json.loads(_place(target).read_text())
    except (OSError, ValueError):  # as good as none
        return None
    return known if isinstance(known, dict) and isinstance(known.get("how"), dict) else None


def _differences(known: dict[str, Any] | None, target: Path, how: How) -> str:
    """In what the target differs from what is wanted; empty for in nothing."""
    if known is None:
        return "was not made by restore-many"
    if known.get("bytes") != target.stat().st_size:
        return "was changed since"
    was = known["how"]
    names = [name for name in {**was, **how} if was.get(name) != how.get(name)]
    if not names:
        return ""
    files = [f"another {name}" for name in names if name in HASHED]
    options = [f"{name} {was.get(name)!r}, not {how.get(name)!r}" for name in names if name not in HASHED]
    return f"was made with {', '.join(files + options)}"
