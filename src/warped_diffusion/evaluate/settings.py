"""What a restoration within an evaluation depends on, and how a folder remembers it."""

import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from warped_diffusion.errors import UserError
from warped_diffusion.evaluate.store import SETTINGS, read_json, write_json
from warped_diffusion.evaluate.ways import Way
from warped_diffusion.models.model import MODELS, WEIGHTS
from warped_diffusion.options import Options
from warped_diffusion.tasks import Task, make_task

JUDGE = "fine DIS flow of the original"
"""The flow that clips of unknown motion are judged by, whatever flow they were restored along."""


@dataclass(frozen=True)
class Settings:
    """What all ways and clips of an evaluation share. Results of others do not go into the same folder.

    Attributes:
        task, scale, blur: what was done to the clips, as in `options.Options`.
        frames, size: what is taken of a clip, as in `clips.open_clips`.
        steps: of ways that have none of their own; None where all have.
        solver, flow: as in `options.Options`.
    """

    task: str = "super-resolution"
    scale: int | None = None
    blur: float | None = None
    frames: int = 16
    size: int | None = None
    steps: int | None = Options().steps
    solver: str = Options().solver
    flow: str = Options().flow

    @property
    def degradation(self) -> Task:
        """Raises: UserError for a task, scale or blur that there is not."""
        return make_task(self.task, self.scale, self.blur)


def settle(out: Path, settings: Settings, ways: Sequence[Way]) -> None:
    """Write down what this evaluation depends on, or find that the folder's is the same.

    Of models the weights count, where they are a file: other models may be added, and none may change.
    Raises: UserError, naming the options that differ.
    """
    path = out / SETTINGS
    models = {way.model: _weights(way.model, settings.task) for way in ways if not way.is_peer}
    new = {**asdict(settings), "judge": JUDGE}
    old = read_json(path) or {}
    known = old.pop("models", {})
    differing = [f"{name} {old[name]!r} (now {new.get(name)!r})" for name in old if old[name] != new.get(name)]
    differing += [f"the weights of {name}" for name in models if name in known and known[name] != models[name]]
    if differing:
        raise UserError(
            f"{out} holds an evaluation with other settings: {', '.join(differing)}. Give those, or another --out"
        )
    write_json(path, {**new, "models": known | models})


def _weights(model: str, task: str) -> str | None:
    """A checksum of a model's weights; None where they are not in one file."""
    path = WEIGHTS / f"{task}.safetensors" if model in MODELS else Path(model)
    return f"{zlib.crc32(path.read_bytes()):08x}" if path.is_file() else None
