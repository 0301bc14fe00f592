"""The real command line on what a document says, the work itself left out: it refuses what it would refuse a reader."""

import io
import sys
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stderr
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from warped_diffusion import cli
from warped_diffusion.bench import BENCHMARKS
from warped_diffusion.errors import UserError
from warped_diffusion.estimators import ESTIMATORS
from warped_diffusion.evaluate.clips import MOTIONS as MOVED
from warped_diffusion.flow import known_motion
from warped_diffusion.models import PretrainedOptions
from warped_diffusion.models.model import MODELS
from warped_diffusion.models.pretrained.options import DTYPES
from warped_diffusion.noise import get_spectrum, make_scheme
from warped_diffusion.noise_video import Options as NoiseOptions
from warped_diffusion.options import Options
from warped_diffusion.restoration import Restoration
from warped_diffusion.restore_video import Result
from warped_diffusion.tasks import make_task
from warped_diffusion.video.encoding import choose_encoding

SIZE = (16, 16)


class Reached(Exception):
    """The work would begin."""


def refusal(arguments: Sequence[str]) -> str | None:
    """What `warped-diffusion ARGUMENTS` would be refused with; None if it would not."""
    said = io.StringIO()
    with ExitStack() as stack, redirect_stderr(said):
        for place, stand_in in STAND_INS.items():
            stack.enter_context(patch(place, stand_in))
        stack.enter_context(patch.object(sys, "argv", ["warped-diffusion", *arguments]))
        try:
            cli.main()
        except Reached:
            return None
        except SystemExit as stop:
            return said.getvalue() if stop.code else None
    return None


def _restore(source: Path, target: Path, options: Options, *rest: Any, **given: Any) -> Result:
    masked = any(given[name] is not None for name in ("mask", "mask_box", "pad"))
    here = options.model in MODELS
    scale = options.scale if here or options.scale is not None else None
    checked = replace(options, model="embedded" if here else _hub(options), pretrained=None, scale=scale, lanes=1)
    if not here and options.task is None and options.scale is None:
        checked = replace(checked, task="super-resolution", scale=4)  # what its config would say
    restoration = Restoration(checked, SIZE, None)
    if restoration.task.takes_mask != masked:
        raise UserError(f"task {restoration.task.name} {'needs' if not masked else 'takes no'} mask")
    if not here:
        _pretrained(options.pretrained)
    if target.suffix not in ("", ".png"):
        choose_encoding(target, given["codec"], given["quality"], SIZE)
    raise Reached


def _restore_many(clips: object, folder: object, keywords: dict[str, Any], run: object) -> None:
    _restore(Path("in.mp4"), Path("out.mp4"), **keywords)


def _hub(options: Options) -> str:
    if len(str(options.model).split("/")) < 2 and not str(options.model).endswith(".safetensors"):
        raise UserError(f"no model {options.model!r}")
    return "embedded"


def _pretrained(options: PretrainedOptions | None) -> None:
    assert options is not None
    if options.dtype not in ("auto", *DTYPES) or options.offload not in ("none", "model", "sequential"):
        raise UserError(f"{options.dtype}, {options.offload}")


def _degrade(source: Path, target: Path, task: str, scale: int | None, *rest: Any) -> None:
    make_task(task, scale, rest[-1])
    raise Reached


def _noise(target: Path, options: NoiseOptions, *rest: Any) -> None:
    make_scheme(options.scheme, channels=1, size=SIZE, spectrum=options.spectrum, fresh=options.fresh)
    known_motion(options.motion or "shift", options.frames or 24, options.size or SIZE)
    _flow(options.flow)
    raise Reached


def _clips(names: Sequence[str], frames: int, size: int | None, motions: Sequence[str]) -> list[Any]:
    asked = [part for name in names if name.startswith("synthetic:") for part in name.split(":")[2:] if part]
    unknown = {*motions, *asked} - set(MOVED)
    if unknown:
        raise UserError(f"no motion {', '.join(unknown)}")
    return []


def _settle(out: Path, settings: Any, ways: Any) -> None:
    _flow(settings.flow)
    raise Reached


def _flow(name: str) -> None:
    if name not in (*ESTIMATORS, "auto"):
        raise UserError(f"no flow {name}")


def _bench(name: str, out: Path | None, **options: Any) -> None:
    if name not in BENCHMARKS:
        raise UserError(f"no benchmark {name}")
    if options["spectrum"] is not None:
        get_spectrum(options["spectrum"])
    torch.device(options["device"])
    raise Reached


def _reached(*_: Any, **__: Any) -> None:
    raise Reached


STAND_INS = {
    "warped_diffusion.batch.clips_of": lambda inputs, folder: [],
    "warped_diffusion.batch.restore_many": _restore_many,
    "warped_diffusion.restore_video.restore_video": _restore,
    "warped_diffusion.restore_video.degrade_video": _degrade,
    "warped_diffusion.demo.VideoReader": _reached,  # its options are checked before
    "warped_diffusion.noise_video.noise_video": _noise,
    "warped_diffusion.evaluate.clips.all_clips": _clips,
    "warped_diffusion.evaluate.run.settle": _settle,  # as those of evaluate
    "warped_diffusion.training.train": _reached,  # and those of train
    "warped_diffusion.training.dry_run": _reached,
    "warped_diffusion.bench.run_benchmark": _bench,
}
"""What a verb calls once its options are read, and what looks at them in its place."""
