"""Which clips of a batch are finished: a small file for each says what it was made from, and how.

It is OUT_FOLDER/.restored/NAME.json, written once the restored clip is under its name.
"""

import json
from pathlib import Path
from typing import Any

from warped_diffusion.errors import UserError
from warped_diffusion.fingerprints import Settings, differences
from warped_diffusion.storage import write_whole

FOLDER = ".restored"


def is_finished(target: Path, how: Settings, overwrite: bool = False) -> bool:
    """Whether the target was made in this way, of the input in `how`; not if it is missing or may be replaced.

    Raises: UserError if it was made from something else or in another way, or cannot be told.
    """
    if not target.exists():
        return False
    known = _read(target)
    differs = _told(known, target, how)
    if differs and not overwrite:
        raise UserError(f"{target} exists and {differs}: give another folder, or replace it with --overwrite")
    return not differs


def mark(target: Path, how: Settings) -> None:
    """Note that the target is finished.   Raises: UserError if that cannot be written."""
    note = {"bytes": target.stat().st_size, "how": how}
    write_whole(_place(target), json.dumps(note, indent=1))


def _place(target: Path) -> Path:
    return target.parent / FOLDER / f"{target.name}.json"


def _read(target: Path) -> dict[str, Any] | None:
    try:
        known = json.loads(_place(target).read_text())
    except (OSError, ValueError):  # as good as none
        return None
    return known if isinstance(known, dict) and isinstance(known.get("how"), dict) else None


def _told(known: dict[str, Any] | None, target: Path, how: Settings) -> str:
    """In what the target differs from what is wanted; empty for in nothing."""
    if known is None:
        return "was not made by restore-many"
    if known.get("bytes") != target.stat().st_size:
        return "was changed since"
    changed = differences(known["how"], how)
    return changed and f"was made otherwise: {changed}"
