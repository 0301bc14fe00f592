"""How a clip was restored, in a line that goes along with it: program, options, seed, model."""

import shlex
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from warped_diffusion.models import PretrainedOptions, fingerprint
from warped_diffusion.options import Options

ALWAYS = ("task", "scale", "model", "steps", "seed")
"""Options that are named even where they are the usual ones, which may change from one version to the next."""

FILES = ("model", "lora", "mask")
"""Options that may be paths: only the last part of one is named, for where someone keeps files is private."""


def describe(options: Options, **further: object) -> str:
    """The command that restores so, less the names of input and output, and the digest of the model's weights.

    Args:
        options: settled.
        further: options of the command that are not of `Options`; None where it is the usual one.
    """
    usual, words = Options(), [f"warped-diffusion {_version()}", "restore"]
    for field in fields(options):
        value = getattr(options, field.name)
        if value is not None and (field.name in ALWAYS or value != getattr(usual, field.name)):
            words += _pretrained(value) if isinstance(value, PretrainedOptions) else _words(field.name, value)
    for name, value in further.items():
        words += [] if value is None or value is False else _words(name, value)
    known = fingerprint(options.model, str(options.task))
    return " ".join(words) + (f"; model {known}" if known else "")


def _pretrained(options: PretrainedOptions) -> list[str]:
    usual = PretrainedOptions()
    given = {field.name: getattr(options, field.name) for field in fields(options)}
    return [word for name, value in given.items() if value != getattr(usual, name) for word in _words(name, value)]


def _words(name: str, value: object) -> list[str]:
    option = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{'' if value else 'no-'}{option}"]
    if name in FILES and isinstance(value, str | Path) and Path(value).exists():
        value = Path(value).name
    elif isinstance(value, tuple | list):
        value = ",".join(map(str, value))
    elif not isinstance(value, str | int | float | Path):
        value = type(value).__name__
    return [f"--{option}", shlex.quote(str(value))]


def _version() -> str:
    try:
        return version("warped-diffusion")
    except PackageNotFoundError:
        return "(not installed)"
