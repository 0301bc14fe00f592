"""What guidance costs in time and memory, which depend on a network's size and not on what it has learnt.

A pretrained one is stood in for by random weights.
"""

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from warped_diffusion.bench.harness import Cell, Options, Report, benchmark, wait_for
from warped_diffusion.bench.memory import peak_memory
from warped_diffusion.diffusion import (
    Condition,
    Denoiser,
    FrameInput,
    Guidance,
    Links,
    get_solver,
    karras_sigmas,
    make_guidance,
    sample,
)
from warped_diffusion.errors import UserError
from warped_diffusion.flow import Motion
from warped_diffusion.models import load_model
from warped_diffusion.models.pretrained.options import choose_dtype
from warped_diffusion.options import choose_lanes
from warped_diffusion.tasks import make_task

NONE, DENOISED = "none", "denoised"
GUIDANCES = (NONE, "network", DENOISED)

ALLOCATOR_SAYS = ("can't allocate memory", "not enough memory")
"""Of a CPU's allocator, which has no error of its own."""

BOUND = 1.10
"""Of the unguided run's peak memory: what the default guidance may take."""

SDXL: Mapping[str, Any] = {
    "sample_size": 128,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (320, 640, 1280),
    "layers_per_block": 2,
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),  # the number of heads, of 64 channels each: the library's name is historical
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 6 * 256 + 1280,
}
"""The configuration of SDXL base's UNet, as diffusers names it: 2.57 billion parameters."""

SMALL: Mapping[str, Any] = {
    **SDXL,
    "sample_size": 32,
    "block_out_channels": (64, 128, 256),
    "transformer_layers_per_block": (1, 1, 2),
    "attention_head_dim": (1, 2, 4),
    "cross_attention_dim": 128,
    "addition_time_embed_dim": 32,
    "projection_class_embeddings_input_dim": 6 * 32 + 64,
}
"""The same kind, for a CPU."""

TOKENS, CELL = 77, 8
"""Of a prompt; pixels per latent cell along an axis."""

BETAS = (0.00085, 0.012, 1000)
"""Stable Diffusion's noise: linear in the root, from, to, in so many steps."""


@dataclass(frozen=True, eq=False)
class Case:
    """A network with all that sampling from it takes.

    Attributes:
        shape: (C, H, W) of what is sampled.
        sigmas: its noise levels.
        condition, start: of every frame.
        lanes: the batches that are measured.
        weights: bytes of them.
        bounded: whether `BOUND` is asked of it.
    """

    name: str
    denoiser: Denoiser
    shape: tuple[int, int, int]
    sigmas: Tensor
    lanes: tuple[int, ...]
    weights: int
    bounded: bool = True
    condition: Condition = field(default_factory=dict)
    start: Tensor | None = None

    @property
    def about(self) -> str:
        """What it is, in words."""
        channels, height, width = self.shape
        return f"{self.name}: frames of {channels}×{height}×{width}, weights of {self.weights / 2**20:.0f} MiB"


@dataclass(frozen=True)
class Effort:
    """How much is measured: what the table asks for, or less for a quick look.

    Attributes:
        unet: the UNet's configuration; None for what the device can bear.
        latents: the side of its square latents; None for the configuration's `sample_size`.
        enlarged: (height, width) of the embedded network's frames, the demo's; None to leave it out.
        steps: of a frame, at least as many as lanes.
        turns: how many times the lanes are filled; two more frames see to it that even one lane has a frame with both
            its links.
    """

    unet: Mapping[str, Any] | None = None
    latents: int | None = None
    enlarged: tuple[int, int] | None = (360, 640)
    lanes: tuple[int, ...] = (1, 2, 4, 8)
    steps: int = 10
    turns: int = 1


@dataclass(frozen=True)
class Figures:
    """Of one run. `seconds` are those of each full batch, from one evaluation's begin to the next one's."""

    lanes: int
    seconds: Sequence[float]
    peak: int

    @property
    def rate(self) -> float:
        """Frames times steps a second; the preparation of frames that enter is in it."""
        return self.lanes * len(self.seconds) / sum(self.seconds)

    @property
    def median(self) -> float:
        return median(self.seconds)


Found = Mapping[tuple[str, int], Mapping[str, Figures | None]]
"""By network and lanes, then by guidance; None where memory did not suffice."""


@benchmark("sampler")
def sampler(options: Options) -> Report:
    """Time and memory of each guidance on a UNet with random weights, SDXL's on CUDA, and on the embedded network."""
    return measured(options, Effort())


def measured(options: Options, effort: Effort) -> Report:
    """The benchmark at any effort."""
    makers = [unet_case] if effort.enlarged is None else [unet_case, embedded_case]
    found: dict[tuple[str, int], dict[str, Figures | None]] = {}
    about, bounded = [], []
    with Progress(console=Console(stderr=True)) as progress:
        for make in makers:
            case = make(options, effort)
            runs = [(lanes, guidance) for lanes in case.lanes for guidance in GUIDANCES]
            about.append(case.about)
            bounded += [case.name] if case.bounded else []
            for lanes, guidance in progress.track(runs, description=case.name):
                one = partial(figures, case, guidance, lanes, options, effort)
                found.setdefault((case.name, lanes), {})[guidance] = if_it_fits(one)
            del case, one  # one network at a time is in memory
    said = [*about, *notes(options, effort)]
    said += [f"{text}: {'met' if met else 'NOT MET'}" for text, met in verdicts(found, bounded)]
    return Report("sampler", COLUMNS, rows(found), said)


def unet_case(options: Options, effort: Effort) -> Case:
    """A UNet of SDXL's kind with random weights, asked once a step, with a random prompt."""
    from diffusers import UNet2DConditionModel

    from warped_diffusion.models.pretrained.denoiser import PretrainedDenoiser, Text, UNet
    from warped_diffusion.models.pretrained.parameterisation import Discrete

    device = torch.device(options.device)
    config = effort.unet or (SDXL if device.type == "cuda" else SMALL)
    side = effort.latents or config["sample_size"]
    pooled_size = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
    with torch.random.fork_rng(), device:
        torch.manual_seed(options.seed)
        unet = UNet2DConditionModel(**config).eval().requires_grad_(False)
        tokens, pooled = torch.randn(1, TOKENS, config["cross_attention_dim"]), torch.randn(1, pooled_size)
    for weight in unet.parameters():  # one after another: twice the whole need not fit
        weight.data = weight.data.to(choose_dtype("auto", device))
    low, high, count = BETAS
    kept = (1 - torch.linspace(low**0.5, high**0.5, count, dtype=torch.float64).square()).cumprod(0)
    table = ((1 - kept) / kept).sqrt()
    prompt = Text(tokens.to(unet.dtype), pooled.to(unet.dtype))
    denoiser = PretrainedDenoiser(UNet(unet, CELL), Discrete(table, "epsilon"), prompt)
    sigmas = karras_sigmas(effort.steps, float(table[0]), float(table[-1]))
    name = f"{'SDXL’s' if config is SDXL else 'small'} UNet, {str(unet.dtype).removeprefix('torch.')}"
    return Case(name, denoiser, (config["in_channels"], side, side), sigmas, effort.lanes, weight_bytes(unet))


def weight_bytes(module: torch.nn.Module) -> int:
    return sum(weight.numel() * weight.element_size() for weight in module.parameters())


def embedded_case(options: Options, effort: Effort) -> Case:
    """The embedded network at the demo's size, four times its input, in as many lanes as `restore` would take."""
    if effort.enlarged is None:
        raise UserError("no size is given for the embedded network: name one in `enlarged`")
    device, (height, width), scale = torch.device(options.device), effort.enlarged, 4
    model = load_model(options.model, "super-resolution", device)
    weights = weight_bytes(model.denoiser) if isinstance(model.denoiser, torch.nn.Module) else 0
    task = make_task("super-resolution", scale)
    small = torch.rand(1, 3, height // scale, width // scale, generator=torch.Generator().manual_seed(options.seed))
    condition = {name: value[0].to(device) for name, value in task.condition(small).items()}
    condition["spectrum"] = torch.tensor(0, device=device)
    sigmas = karras_sigmas(effort.steps, *model.sigma_range(condition))
    lanes = (min(choose_lanes("auto", effort.enlarged, device), effort.steps),)
    return Case(
        "embedded",
        model.denoiser,
        (3, height, width),
        sigmas,
        lanes,
        weights,
        bounded=False,
        condition=condition,
        start=model.start(condition),
    )


def clip(case: Case, guidance: Guidance, frames: int, options: Options) -> Iterator[FrameInput]:
    """Frames under a steady turn and shift, each with the links that the guidance asks for, made when asked for."""
    device, seeds = torch.device(options.device), torch.Generator().manual_seed(options.seed)
    size = (case.shape[1], case.shape[2])
    motion = Motion.analytic(frames, size, shift=(1.37, 0.61), rotation=0.2)
    ties = Links(guidance, size, device)
    for index in range(frames):
        pair = index - 1
        step = (motion.forward[pair], motion.backward[pair], motion.visible[pair], motion.known[pair])
        links = ties.advance(step if index > 0 and guidance.anchors else None)
        noise = torch.randn(case.shape, generator=seeds).to(device)
        yield FrameInput(noise, case.condition, links, case.start, is_key=ties.key_index == index)


class Paced:
    """A denoiser that notes when it is asked, and for how many frames."""

    def __init__(self, denoiser: Denoiser, device: torch.device) -> None:
        self.denoiser, self.device = denoiser, device
        self.calls: list[tuple[float, int]] = []

    def __call__(self, noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        wait_for(self.device)
        self.calls.append((time.perf_counter(), len(noisy)))
        return self.denoiser(noisy, sigma, condition)

    def seconds(self, lanes: int) -> list[float]:
        """Of each batch of that size but the last, until the next one."""
        return [after - begun for (begun, size), (after, _) in pairwise(self.calls) if size == lanes]


def run(case: Case, name: str, lanes: int, options: Options, effort: Effort) -> list[float]:
    """Sample a clip, and throw it away: seconds of each full batch."""
    guidance = make_guidance(name)
    paced = Paced(case.denoiser, torch.device(options.device))
    frames = clip(case, guidance, effort.turns * lanes + 2, options)
    for _ in sample(paced, frames, case.sigmas, get_solver("euler"), guidance, lanes):
        pass
    return paced.seconds(lanes)[options.warmup :]


def figures(case: Case, name: str, lanes: int, options: Options, effort: Effort) -> Figures:
    """Of one guidance at one number of lanes. Where counting memory takes time, off a GPU, times are a second run's."""
    seconds: list[float] = []
    once = partial(run, case, name, lanes, options, effort)
    peak = peak_memory(lambda: seconds.extend(once()), options.device)
    return Figures(lanes, seconds if torch.device(options.device).type == "cuda" else once(), peak)


def if_it_fits(function: Callable[[], Figures]) -> Figures | None:
    """What the call answers, None if memory did not suffice; what that left is given back."""
    try:
        return function()
    except RuntimeError as error:
        if not isinstance(error, torch.cuda.OutOfMemoryError) and not any(
            said in str(error) for said in ALLOCATOR_SAYS
        ):
            raise
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


COLUMNS = (
    "network",
    "lanes",
    "guidance",
    "frame-steps per second",
    "ms per batch, median",
    "time / none",
    "peak memory, MiB",
    "memory / none",
)


def rows(found: Found) -> list[list[Cell]]:
    """One for each run; ratios are to the unguided run of as many lanes, times those of the rates."""
    table: list[list[Cell]] = []
    for (network, lanes), by_guidance in found.items():
        none = by_guidance[NONE]
        for guidance, this in by_guidance.items():
            if this is None:
                table.append([network, lanes, guidance, None, None, None, "out of memory", None])
                continue
            slower, larger = (None, None) if none is None else (none.rate / this.rate, this.peak / none.peak)
            table.append([network, lanes, guidance, this.rate, 1000 * this.median, slower, this.peak / 2**20, larger])
    return table


def verdicts(found: Found, networks: Sequence[str]) -> list[tuple[str, bool]]:
    """What is asked of those networks: the ratios of memory at each number of lanes, and whether all are in bounds."""
    answers = []
    for network in networks:
        pairs = {lanes: (of[NONE], of[DENOISED]) for (name, lanes), of in found.items() if name == network}
        ratios = {
            n: this.peak / none.peak for n, (none, this) in pairs.items() if none is not None and this is not None
        }
        missing = any(none is not None and this is None for none, this in pairs.values())
        listed = ", ".join(f"{ratio:.3f} at {lanes}" for lanes, ratio in ratios.items()) or "none measured"
        text = f"memory of denoised over none, {network}, by lanes: {listed} (at most {BOUND:.2f})"
        answers.append((text, bool(ratios) and not missing and max(ratios.values()) <= BOUND))
    return answers


def notes(options: Options, effort: Effort) -> list[str]:
    counted = (
        "the allocator's own peak"
        if torch.device(options.device).type == "cuda"
        else "bytes of all tensors alive at one time, weights included, what a kernel takes for itself not"
    )
    return [
        f"{effort.steps} Euler steps of {effort.turns} × lanes + 2 frames under a turn and a shift, exactly known; "
        "each is linked to the frame before it and to the key frame, as the guidance asks",
        "a UNet's weights and prompt are random, and it is asked once a step, without classifier-free guidance",
        f"time: of full batches, {options.warmup} left out to warm up, from the begin of one evaluation to that of the "
        "next; the rate is of their mean, in which the preparation of frames that enter is, and “time / none” compares "
        "rates",
        f"peak memory: {counted}",
    ]
