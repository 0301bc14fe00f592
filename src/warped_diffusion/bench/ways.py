"""The ways in which a benchmark restores a clip, and the settings of `restore` that one comes to."""

from dataclasses import dataclass, field
from typing import Protocol

from warped_diffusion.bench.harness import Options
from warped_diffusion.diffusion import Guidance, NoGuidance
from warped_diffusion.models import Model
from warped_diffusion.options import Options as Settings


@dataclass(frozen=True)
class Way:
    """A way to restore the clip."""

    noise: str = "gp"
    guidance: Guidance = field(default_factory=NoGuidance)


class Sampling(Protocol):
    """What the settings take of a benchmark's effort."""

    @property
    def steps(self) -> int: ...

    @property
    def solver(self) -> str: ...

    @property
    def lanes(self) -> int | str: ...


def settings(
    task: str, way: Way, model: Model, options: Options, effort: Sampling, scale: int | None = None
) -> Settings:
    """How a clip is restored in that way; `scale` is of super-resolution."""
    return Settings(
        task=task,
        scale=scale,
        model=model,
        noise=way.noise,
        spectrum=options.spectrum,
        guidance=way.guidance,
        steps=effort.steps,
        solver=effort.solver,
        lanes=effort.lanes,
        seed=options.seed,
        device=options.device,
    )
