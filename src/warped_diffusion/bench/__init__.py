"""Benchmarks: one harness, one file per benchmark; a new one is imported here so that it registers itself."""

from warped_diffusion.bench.clips import clips
from warped_diffusion.bench.consistency import consistency
from warped_diffusion.bench.decoder import decoder
from warped_diffusion.bench.end_to_end import end_to_end
from warped_diffusion.bench.fine_tuning import fine_tuning
from warped_diffusion.bench.flow import flow
from warped_diffusion.bench.harness import (
    BENCHMARKS,
    Machine,
    Options,
    Report,
    Table,
    Timing,
    benchmark,
    machine,
    measure,
    run_benchmark,
)
from warped_diffusion.bench.inpainting import inpainting
from warped_diffusion.bench.long_clips import long_clips
from warped_diffusion.bench.noise import noise
from warped_diffusion.bench.peers import peers
from warped_diffusion.bench.posterior import posterior
from warped_diffusion.bench.real_clips import RealClip
from warped_diffusion.bench.sampler import sampler
from warped_diffusion.bench.steadiness import steadiness
from warped_diffusion.bench.zero_shot import zero_shot
from warped_diffusion.evaluate.moved import still_clip

__all__ = [
    "BENCHMARKS",
    "Machine",
    "Options",
    "RealClip",
    "Report",
    "Table",
    "Timing",
    "benchmark",
    "clips",
    "consistency",
    "decoder",
    "end_to_end",
    "fine_tuning",
    "flow",
    "inpainting",
    "long_clips",
    "machine",
    "measure",
    "noise",
    "peers",
    "posterior",
    "run_benchmark",
    "sampler",
    "steadiness",
    "still_clip",
    "zero_shot",
]
