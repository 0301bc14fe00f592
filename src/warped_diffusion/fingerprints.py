"""What a journal must find again when its run goes on: the options, and the files that they name."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from warped_diffusion.masked_video import ALPHA, Bounds, MaskSource
from warped_diffusion.options import Options, choose_device

BLOCKS, BLOCK = 64, 2**16
"""So many pieces, spread over a file, of so many bytes tell it from others: a long clip is not read twice."""


def fingerprint(path: Path) -> str:
    """Of a file by its size and pieces of it, of a folder by those of its files and their names."""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(str(file.relative_to(path)).encode() + b"\0")
            _add(file, digest)
    return digest.hexdigest()


def settings(source: Path, options: Options, bounds: Bounds, masks: MaskSource) -> dict[str, Any]:
    """All that the frames depend on, as JSON holds it; what only the encoding depends on is left out."""
    chosen = {name: getattr(options, name) for name in options.__dataclass_fields__}
    chosen |= {"device": str(choose_device(options.device)), "range": bounds, "mask_box": masks.box}
    chosen |= {"track_mask": masks.track, "pad": masks.pad}
    chosen["mask"] = masks.mask if masks.mask == ALPHA else _content(masks.mask)
    chosen["model"] = _content(options.model)
    made_with = {"warped-diffusion": version("warped-diffusion"), "torch": torch.__version__}
    return {"input": fingerprint(source)} | {name: _plain(value) for name, value in (chosen | made_with).items()}


def differences(begun: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What is not as it was, in words."""
    both = [name for name in {**begun, **now} if begun.get(name) != now.get(name)]
    return [_told(name, begun.get(name), now.get(name)) for name in both]


def _told(name: str, before: object, after: object) -> str:
    if name == "input":
        return "another input"
    return f"{name.replace('_', '-')} {json.dumps(before)}, not {json.dumps(after)}"


def _content(given: object) -> object:
    """A file or folder by what it holds, a name by itself, an object by its class."""
    if isinstance(given, str | Path) and Path(given).exists():
        return fingerprint(Path(given))
    return given


def _plain(value: object) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return _plain(_content(str(value)))
    if isinstance(value, Sequence | frozenset):
        return [_plain(one) for one in value]
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    if is_dataclass(value) and not isinstance(value, type):
        return {"of": name} | {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return name


def _add(path: Path, digest: "hashlib._Hash") -> None:
    size = path.stat().st_size
    digest.update(size.to_bytes(8, "big"))
    with path.open("rb") as file:
        if size <= BLOCKS * BLOCK:
            digest.update(file.read())
            return
        for block in range(BLOCKS):
            file.seek(block * (size - BLOCK) // (BLOCKS - 1))
            digest.update(file.read(BLOCK))
