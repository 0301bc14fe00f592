"""What a result depends on: options, and the files that they name by what is in them.

The journal of a clip goes on only with the same; `restore-many` passes over a clip that was made with the same.
"""

import json
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from warped_diffusion.digests import digest
from warped_diffusion.errors import UserError
from warped_diffusion.masked_video import ALPHA, Bounds, MaskSource
from warped_diffusion.models import PretrainedOptions, fingerprint
from warped_diffusion.options import Options, choose_devices
from warped_diffusion.storage import is_remote

Settings = dict[str, Any]
"""By the options' names, in JSON's terms."""

ROUNDING = ("device", "lanes", "warped-diffusion", "torch")
"""What changes frames by rounding at most: the journal's are the same to the last bit, and it wants these as well."""


def settings(source: Path, options: Options, bounds: Bounds, masks: MaskSource) -> Settings:
    """All that a clip's frames depend on.   Raises: UserError for a file that cannot be read."""
    return {"input": content(source)} | described(options, bounds, masks)


def described(options: Options, bounds: Bounds, masks: MaskSource) -> Settings:
    """The same but for the input: what clips have in common that are restored alike.

    Args:
        options: settled.
    """
    chosen: Settings = {name: getattr(options, name) for name in options.__dataclass_fields__ if name != "pretrained"}
    chosen |= vars(options.pretrained or PretrainedOptions())
    chosen |= {"device": ",".join(map(str, choose_devices(options.device))), "range": bounds, "mask_box": masks.box}
    chosen |= {"track_mask": masks.track, "pad": masks.pad}
    chosen["mask"] = masks.mask if masks.mask == ALPHA else content(masks.mask)
    chosen["lora"] = content(chosen["lora"])
    try:
        known = fingerprint(options.model, str(options.task))
    except OSError as error:
        raise UserError(f"{options.model} cannot be read: {error.strerror}") from error
    # A hub's model keeps its name, and may be another one tomorrow.
    chosen["model"] = f"{options.model}, {known}" if known and known.startswith("revision ") else known or options.model
    made_with = {"warped-diffusion": version("warped-diffusion"), "torch": torch.__version__}
    return {name.replace("_", "-"): _plain(value) for name, value in (chosen | made_with).items()}


def differences(before: Settings, now: Settings) -> str:
    """What is not as it was, in words; empty for nothing."""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return "; ".join(_told(name, before.get(name), now.get(name)) for name in names)


def content(given: Any) -> object:
    """A file or folder by what it holds, anything else by itself.   Raises: UserError for one that cannot be read."""
    file = Path(given) if isinstance(given, str) else given
    if not (isinstance(file, Path) or is_remote(file)) or not file.exists():
        return given
    try:
        return digest(file)
    except OSError as error:
        raise UserError(f"{given} cannot be read: {error.strerror}") from error


def _told(name: str, before: object, after: object) -> str:
    if any(isinstance(value, str) and value.startswith("sha256 ") for value in (before, after)):
        return f"another {name}"
    return f"{name} {json.dumps(before)}, not {json.dumps(after)}"


def _plain(value: object) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Sequence | frozenset):
        return [_plain(one) for one in value]
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    if is_dataclass(value) and not isinstance(value, type):
        return {"of": name} | {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return name
