"""What a training run is told, read from a TOML file."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from warped_diffusion.errors import UserError
from warped_diffusion.noise import SPECTRA
from warped_diffusion.tasks import TASKS

PRESETS = Path(__file__).parent / "presets"


@dataclass(frozen=True)
class TrainConfig:
    """A training run. Sizes in pixels, rates per step.

    A resumed run may differ in anything but what decides which weights there are: `model`, `task`, `network` and
    `lora_rank`; it then leaves the trajectory that it would have had.

    Attributes:
        pictures: where they come from: see `open_pictures`.
        out: folder for checkpoints, the loss log and the weights.
        model: "embedded", or the pretrained model that is fine-tuned: a folder in diffusers' format or a hub's name.
        task: a name in `tasks.TASKS`.
        batch: crops of one optimiser step, over all processes and accumulated parts together.
        accumulate: parts that a process's share of the batch is taken in, one after another, to save memory.
        scales, scale_shares: of super-resolution, the factors drawn, and how often; a pretrained model has one factor.
        drop: share of the crops whose condition is left out; in inpainting, of those whose hole is the whole frame;
            it has no part in clean-up.
        prompt_drop: share of the captions left out, of pretrained models.
        rough: degrade in many ways, as the embedded networks are trained, rather than by the task's plain degradation.
        spectra: the noise spectra, drawn with equal shares.
        level_mean, level_spread, level_range: ln(sigma / unit) is drawn from N(mean, spread^2) and clipped; the unit is
            the task's, the standard deviation of its residual or of pictures. Of the embedded networks.
        whiten: how far errors are counted in the noise's own metric, from 0, by plain squares, to 1 (see `whitening`);
            it changes nothing under white noise.
        min_snr: gamma of min-SNR weights, of pretrained models; 0 for equal weights.   [Hang et al. 2023, eq. 8]
        rate, warmup, schedule, cooldown: the rate rises over `warmup` steps, and under "cosine" falls to nothing over
            the last `cooldown` share of the steps.
        betas, eps, weight_decay, clip: of AdamW, and the norm that the gradient is clipped to.
        ema: decay of the averaged weights per step, at most 1 - 10 / (step + 10).
        workers: processes that make batches ahead of time; 0 makes them in the training process.
        threads: of torch in each process.
        precision: of the network's convolutions and products; "auto" is bf16 where the hardware multiplies it.
        patience: steps in a row without a finite loss and gradient, which are skipped, that end the run.
        keep: how many checkpoints are kept, one every `checkpoint_every` steps.
        validate_every: steps from one look at held-out pictures to the next; 0 for none.
        lora_rank, lora_alpha: of low-rank weights beside the frozen ones; rank 0 trains all, alpha 0 is the rank.
        gradient_checkpointing: compute activations twice to keep few of them, of pretrained models.
        cache: folder for latents and text embeddings that are computed once, of pretrained models, or "".
        warm_start: weights to begin with, a file of embedded weights of any task, or "".
        network: widths and depths of an embedded network.

    Raises: UserError for values that no run can have.
    """

    pictures: str
    out: str
    model: str = "embedded"
    task: str = "super-resolution"
    steps: int = 10_000
    batch: int = 32
    accumulate: int = 1
    crop: int = 64
    scales: tuple[int, ...] = (2, 3, 4, 5, 6, 7, 8)
    scale_shares: tuple[float, ...] = (0.1, 0.06, 0.3, 0.05, 0.05, 0.02, 0.42)
    drop: float = 0.1
    prompt_drop: float = 0.1
    rough: bool = False
    spectra: tuple[str, ...] = ("white", "squared-exponential")
    level_mean: float = 0.2
    level_spread: float = 1.5
    level_range: tuple[float, float] = (-3.7, 4.1)
    whiten: float = 0.0
    min_snr: float = 5.0
    rate: float = 8e-4
    warmup: int = 300
    schedule: Literal["cosine", "constant"] = "cosine"
    cooldown: float = 0.8
    betas: tuple[float, float] = (0.9, 0.99)
    eps: float = 1e-8
    weight_decay: float = 0.01
    clip: float = 1.0
    ema: float = 0.999
    seed: int = 0
    workers: int = 1
    threads: int = 2
    precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    patience: int = 20
    checkpoint_every: int = 250
    keep: int = 2
    validate_every: int = 0
    lora_rank: int = 0
    lora_alpha: float = 0.0
    gradient_checkpointing: bool = False
    cache: str = ""
    warm_start: str = ""
    network: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.scales) == 1:
            object.__setattr__(self, "scale_shares", (1.0,))
        _check(self)


def read_config(source: str, **overrides: object) -> TrainConfig:
    """The configuration in a TOML file, or in the preset of that name; `overrides` that are not None win.

    Overrides may be texts, as they come from a command line: lists with commas, `true` and `false`.
    Raises: UserError for a file that is missing or not TOML, for keys that do not exist and for values of another kind.
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
    kinds = get_type_hints(TrainConfig)
    return TrainConfig(**{name: _converted(name, kinds[name], value) for name, value in values.items()})


def read_overrides(arguments: Sequence[str]) -> dict[str, str]:
    """`--key value` pairs, or `--key=value`, as a mapping; dashes in keys stand for underscores.

    Raises: UserError for what is not such a pair, and for keys that do not exist.
    """
    known, given = {f.name for f in fields(TrainConfig)}, {}
    words = iter(arguments)
    for word in words:
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or name.replace("-", "_") not in known:
            raise UserError(f"training has no option {word!r}: give --KEY VALUE, KEY one of {', '.join(sorted(known))}")
        if not equals and (value := next(words, None)) is None:  # type: ignore[assignment]
            raise UserError(f"{word} is given no value: give {word} VALUE")
        given[name.replace("-", "_")] = value
    return given


KINDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
ACCEPTED: dict[type, tuple[type, ...]] = {int: (int, str), float: (int, float, str), str: (str,)}


def _converted(name: str, kind: Any, value: Any) -> Any:
    """`value`, from TOML or a command line, as the field's kind.   Raises: UserError if it is of another kind."""
    parts = get_args(kind)
    if get_origin(kind) is dict:
        if not isinstance(value, Mapping):
            raise UserError(f"{name} is {value!r}: it is a table, and stands in the configuration file")
        return {key: _converted(f"{name}.{key}", parts[1], item) for key, item in value.items()}
    if get_origin(kind) is Literal:
        if value not in parts:
            raise UserError(f"{name} is {value!r}: it is one of {', '.join(parts)}")
        return value
    if get_origin(kind) is tuple:
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, list | tuple) or (parts[-1] is not Ellipsis and len(items) != len(parts)):
            count = "a list" if parts[-1] is Ellipsis else f"a list of {len(parts)}"
            raise UserError(f"{name} is {value!r}: it is {count}, each {KINDS[parts[0]]}")
        return tuple(_converted(name, parts[0], item) for item in items)
    try:
        if kind is bool:
            return {"true": True, "false": False}[str(value).lower()]
        if isinstance(value, bool) or not isinstance(value, ACCEPTED[kind]):
            raise TypeError(value)
        return kind(value)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{name} is {value!r}: it is {KINDS[kind]}") from error


def _check(config: TrainConfig) -> None:
    """Raises: UserError for values that no run can have."""
    for name in ("steps", "batch", "accumulate", "crop", "threads", "patience", "checkpoint_every", "keep"):
        if getattr(config, name) < 1:
            raise UserError(f"{name} is {getattr(config, name)}: it is 1 or more")
    for name in ("workers", "warmup", "validate_every", "lora_rank", "lora_alpha", "min_snr", "weight_decay"):
        if getattr(config, name) < 0:
            raise UserError(f"{name} is {getattr(config, name)}: it is 0 or more")
    for name in ("rate", "clip", "eps"):
        if not getattr(config, name) > 0:
            raise UserError(f"{name} is {getattr(config, name)}: it is more than 0")
    for name in ("drop", "prompt_drop", "cooldown", "ema", "whiten"):
        if not 0 <= getattr(config, name) <= 1:
            raise UserError(f"{name} is {getattr(config, name)}: it is a share, from 0 to 1")
    for name, known in (("task", TASKS), ("spectra", SPECTRA)):
        chosen = getattr(config, name)
        strange = [item for item in ([chosen] if isinstance(chosen, str) else chosen) if item not in known]
        if strange or not chosen:
            raise UserError(f"{name} is {', '.join(strange) or 'empty'}: there are {', '.join(known)}")
    if len(config.scales) != len(config.scale_shares):
        raise UserError(
            f"scales names {len(config.scales)} factors and scale_shares {len(config.scale_shares)} shares: "
            "give one share for each factor"
        )
