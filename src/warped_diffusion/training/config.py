"""What a training run is told, read from a TOML file."""

import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from warped_diffusion.errors import UserError

PRESETS = Path(__file__).parent / "presets"


@dataclass(frozen=True)
class TrainConfig:
    """A training run. Sizes in pixels, rates per step; a resumed run may differ in `steps`, `rate` and `batch` alone.

    Attributes:
        pictures: folder with pictures.bin and pictures.json, as `scripts/pack_pictures.py` writes them.
        out: folder for checkpoints, the loss log and the weights.
        task: a name in `tasks.TASKS`.
        scales, scale_shares: of super-resolution, the factors drawn, and how often.
        drop: share of the crops whose condition is left out; in inpainting, of those whose hole is the whole frame;
            it has no part in clean-up.
        spectra: the noise spectra, drawn with equal shares.
        level_mean, level_spread, level_range: ln(sigma / unit) is drawn from N(mean, spread^2) and clipped; the unit is
            the task's, the standard deviation of its residual or of pictures.
        group: crops of one batch that are made together; in super-resolution they share their scale.
        cooldown: share of the steps at the end over which the rate falls, as a cosine, to nothing.
        ema: decay of the averaged weights per step, at most 1 - 10 / (step + 10).
        warm_start: weights to begin with, a file of embedded weights of any task, or "".
    """

    pictures: str
    out: str
    task: str = "super-resolution"
    steps: int = 10_000
    batch: int = 32
    group: int = 8
    crop: int = 64
    scales: tuple[int, ...] = (2, 3, 4, 5, 6, 7, 8)
    scale_shares: tuple[float, ...] = (0.1, 0.06, 0.3, 0.05, 0.05, 0.02, 0.42)
    drop: float = 0.1
    spectra: tuple[str, ...] = ("white", "squared-exponential")
    level_mean: float = 0.2
    level_spread: float = 1.5
    level_range: tuple[float, float] = (-3.7, 4.1)
    rate: float = 8e-4
    warmup: int = 300
    cooldown: float = 0.8
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0
    ema: float = 0.999
    seed: int = 0
    threads: int = 2
    bf16: bool = True
    checkpoint_every: int = 250
    warm_start: str = ""
    network: dict[str, tuple[int, ...]] = field(default_factory=dict)


def read_config(source: str, **overrides: object) -> TrainConfig:
    """The configuration in a TOML file, or in the preset of that name; `overrides` that are not None win.

    Raises: UserError for a file that is missing or not TOML, and for keys that do not exist.
    """
    path = Path(source) if source.endswith(".toml") else PRESETS / f"{source}.toml"
    if not path.is_file():
        presets = ", ".join(sorted(p.stem for p in PRESETS.glob("*.toml")))
        raise UserError(f"no configuration {source!r}: give a .toml file, or one of the presets {presets}")
    try:
        values = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path} is not valid TOML: {error}") from error
    values |= {name: value for name, value in overrides.items() if value is not None}
    unknown = values.keys() - {f.name for f in fields(TrainConfig)}
    if unknown:
        raise UserError(f"{path} has keys that training does not know: {', '.join(sorted(unknown))}")
    missing = {"pictures", "out"} - values.keys()
    if missing:
        raise UserError(f"training needs {' and '.join(sorted(missing))}: give --{' --'.join(sorted(missing))}")
    network = {name: tuple(sizes) for name, sizes in values.pop("network", {}).items()}
    settings: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    config = TrainConfig(**settings, network=network)
    if config.batch % config.group:
        raise UserError(f"batch is {config.batch}, which groups of {config.group} do not fill: give a multiple of it")
    return config
