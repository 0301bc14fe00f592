"""The state of a training run: what is trained, its average, the optimiser, and how far it has come."""

import json
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from warped_diffusion.errors import UserError
from warped_diffusion.models.precision import best_dtype
from warped_diffusion.training import checkpoints
from warped_diffusion.training.average import Average
from warped_diffusion.training.config import TrainConfig
from warped_diffusion.training.learner import Batch, make_learner

if TYPE_CHECKING:
    from accelerate import Accelerator

IDENTITY = ("model", "task", "network", "lora_rank")
"""Settings that decide which weights there are."""


def make_accelerator(config: TrainConfig) -> "Accelerator":
    """accelerate's view of this process: its device, its fellows, and the number format.

    Raises: UserError if accelerate is not installed, for a number format that the device has not, and for FSDP 1.
    """
    accelerate = _accelerate()
    device = accelerate.PartialState(cpu=_on_cpu()).device
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if best_dtype(device) == torch.bfloat16 else "no"
    if precision == "fp16" and device.type == "cpu":
        raise UserError('precision is "fp16", which CPUs do not train in: give "bf16", "no" or "auto"')
    accelerate.state.AcceleratorState._reset_state()  # a run before this one may have had another format
    made: Accelerator = accelerate.Accelerator(gradient_accumulation_steps=config.accumulate, mixed_precision=precision)
    if made.distributed_type.value == "FSDP" and not made.is_fsdp2:
        raise UserError("accelerate is configured for FSDP of version 1: set fsdp_version to 2")
    return made


def _on_cpu() -> bool:
    """Whether to train on CPUs: accelerate joins processes on them only if it is told."""
    asked = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
    return asked or not (torch.cuda.is_available() or torch.backends.mps.is_available() or torch.xpu.is_available())


def _accelerate() -> ModuleType:
    try:
        import accelerate
        import tensorboard  # noqa: F401
    except ImportError as error:
        install = 'pip install "warped-diffusion[train]"'
        raise UserError(f"training needs accelerate and tensorboard ({error}): {install}") from error
    return accelerate


@dataclass(frozen=True)
class Step:
    """What came of a step: its loss over all processes, the gradient's norm, the rate, and whether it was taken."""

    loss: float
    norm: float
    rate: float
    taken: bool


class Run:
    """A run in one of its processes.

    Attributes:
        step, samples: optimiser steps gone through, and crops that they were of, in all processes together.
        skipped: steps gone through that had no finite loss and gradient, and so changed nothing.
    """

    def __init__(self, config: TrainConfig, accelerator: "Accelerator") -> None:
        torch.manual_seed(config.seed)
        self.config, self.accelerator = config, accelerator
        self.learner = make_learner(config, accelerator.device)
        if self._sharded():  # FSDP cuts no weights that lie in another order
            self.learner.module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        trained = [parameter for parameter in self.learner.module.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=config.rate, **self._settings())
        self.network, self.optimizer = accelerator.prepare(self.learner.module, optimizer)
        self.average = Average(self.network.parameters())
        self.step, self.samples, self.skipped, self._skipped_in_a_row = 0, 0, 0, 0
        # Frozen weights need not be kept, and names should not depend on the number of processes.
        accelerator.register_save_state_pre_hook(lambda models, weights, folder: weights.clear())
        accelerator.register_load_state_pre_hook(lambda models, folder: models.clear())

    def advance(self, batches: Iterable[Batch]) -> Step:
        """One optimiser step on this process's parts of a batch, of which there are `config.accumulate`.

        The gradient is that of sum(e w) / sum(w) over all parts of all processes. As sum(w) is known last, parts
        contribute the mean of e w, and what they come to is scaled.
        Raises: UserError after `config.patience` steps in a row without a finite loss and gradient.
        """
        config, accelerator = self.config, self.accelerator
        rate = config.rate * rate_factor(config, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        total = torch.zeros(2, device=accelerator.device)
        for batch in batches:
            with accelerator.accumulate(self.network):
                errors, weights = self.learner.errors(self.network, to_device(batch, accelerator.device))
                weighted = errors * weights
                accelerator.backward(weighted.mean())
            total += torch.stack([weighted.detach().sum(), weights.detach().sum()])
        of_errors, of_weights = accelerator.reduce(total, "sum").tolist()
        loss = of_errors / of_weights if of_weights else math.nan
        norm = self._clip(config.batch / of_weights if of_weights else math.nan)
        taken = math.isfinite(loss) and math.isfinite(norm)
        if taken or accelerator.scaler is not None:  # the scaler of fp16 skips by itself, and learns from it
            self.optimizer.step()
        self.optimizer.zero_grad()
        self._count(taken)
        return Step(loss, norm, rate, taken)

    def _clip(self, scale: float) -> float:
        """Scales the gradient and clips it; returns its norm before clipping."""
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        if scale != 1:
            torch._foreach_mul_(gradients, scale)
        norm: Tensor | float = self.accelerator.clip_grad_norm_(self.network.parameters(), self.config.clip)
        return float(norm)

    def _count(self, taken: bool) -> None:
        self.step, self.samples = self.step + 1, self.samples + self.config.batch
        if taken:
            self.average.update(min(self.config.ema, 1 - 10 / (self.step + 10)))
            self._skipped_in_a_row = 0
            return
        self.skipped, self._skipped_in_a_row = self.skipped + 1, self._skipped_in_a_row + 1
        if self._skipped_in_a_row >= self.config.patience:
            raise UserError(
                f"{self._skipped_in_a_row} steps in a row, up to step {self.step}, had no finite loss and gradient: "
                f'give a rate below {self.config.rate:g} or precision "no", and go on from the last checkpoint'
            )

    def save(self, folder: Path) -> None:
        """Writes this process's part of a checkpoint into `folder`, the same for all processes."""
        accelerator = self.accelerator
        accelerator.save_state(str(folder))
        if self._sharded():  # accelerate has written the network's shards
            torch.save([_local(value) for value in self.average.values], self._shard(folder))
        if accelerator.is_main_process:
            if not self._sharded():
                names = self._names()
                for part, values in (("trained", self.average.parameters), ("averaged", self.average.values)):
                    tensors = {n: v.detach().contiguous() for n, v in zip(names, values, strict=True)}
                    save_file(tensors, folder / f"{part}.safetensors")
            counts = {"step": self.step, "samples": self.samples, "skipped": self.skipped}
            state = counts | {"in_a_row": self._skipped_in_a_row, "of": self._identity()}
            (folder / checkpoints.STATE).write_text(json.dumps(state))

    def resume(self, folder: Path) -> None:
        """Takes up a checkpoint.   Raises: UserError if it is of a run with other weights."""
        state = checkpoints.read(folder)
        for name, value in self._identity().items():
            if state["of"].get(name) != value:
                raise UserError(
                    f"{folder} is of a run with {name} = {state['of'].get(name)!r}, this one has {value!r}: "
                    "give another --out"
                )
        self.accelerator.load_state(str(folder))
        self.accelerator.step = 0  # of parts within a batch, of which there may be another number now
        if self._sharded():
            self._take(self.average.values, torch.load(self._shard(folder), weights_only=True))
        else:
            for part, values in (("trained", self.average.parameters), ("averaged", self.average.values)):
                tensors = load_file(folder / f"{part}.safetensors")
                self._take(values, [tensors[name] for name in self._names()])
        for group in self.optimizer.param_groups:
            group.update(self._settings())
        self.step, self.samples, self.skipped = state["step"], state["samples"], state["skipped"]
        self._skipped_in_a_row = state["in_a_row"]

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the network computes with the averages."""
        with self.average.in_place():
            yield
            for module in self.network.modules():
                if self._sharded() and hasattr(module, "reshard"):
                    module.reshard()  # or the next step would begin with the averages that were gathered here

    def export(self, folder: Path, about: dict[str, object]) -> Path:
        """The averaged model, written by the main process; to be called in all of them."""
        names = set(self._names())
        with self.averaged():
            state = self.accelerator.get_state_dict(self.network)
            averaged = {name: value.detach().to("cpu", copy=True) for name, value in state.items() if name in names}
        about = {"steps": self.step, "samples": self.samples} | about
        path = self.learner.export(averaged, folder, about) if self.accelerator.is_main_process else folder
        self.accelerator.wait_for_everyone()
        return path

    def _settings(self) -> dict[str, Any]:
        """Of the optimiser, but for its rate."""
        return {"betas": self.config.betas, "eps": self.config.eps, "weight_decay": self.config.weight_decay}

    def _identity(self) -> dict[str, object]:
        values: dict[str, object] = json.loads(json.dumps({name: asdict(self.config)[name] for name in IDENTITY}))
        return values

    def _names(self) -> list[str]:
        return [name for name, parameter in self.learner.module.named_parameters() if parameter.requires_grad]

    def _sharded(self) -> bool:
        return str(self.accelerator.distributed_type.value) == "FSDP"

    def _shard(self, folder: Path) -> Path:
        return folder / f"averaged-{self.accelerator.process_index:05d}.pt"

    @staticmethod
    @torch.no_grad()
    def _take(values: Iterable[Tensor], given: Iterable[Tensor]) -> None:
        for value, new in zip(values, given, strict=True):
            _local(value).copy_(new)


def _local(value: Tensor) -> Tensor:
    """This process's shard of a distributed tensor, or the tensor."""
    local: Tensor = value.to_local() if hasattr(value, "to_local") else value
    return local


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch with its tensors there."""
    return {
        name: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
        for name, value in batch.items()
    }


def rate_factor(config: TrainConfig, step: int) -> float:
    """Rises over `warmup` steps, then holds; on the cosine schedule falls over the last `cooldown` share of the run."""
    rise = min(1.0, (step + 1) / max(1, config.warmup))
    if config.schedule == "constant":
        return rise
    left = (config.steps - step) / max(1.0, config.cooldown * config.steps)
    return rise * (0.5 - 0.5 * math.cos(math.pi * min(1.0, max(0.0, left))))
