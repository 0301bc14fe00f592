"""Which samples a process is given, and in which order: each global batch is dealt out in parts of one size."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch.utils.data import DataLoader, Dataset

from warped_diffusion.errors import UserError
from warped_diffusion.training.config import TrainConfig
from warped_diffusion.training.data import Samples
from warped_diffusion.training.learner import Batch

if TYPE_CHECKING:
    from accelerate import Accelerator


def share(config: TrainConfig, accelerator: "Accelerator") -> int:
    """Crops in one part of one process.   Raises: UserError if the batch cannot be divided so."""
    parts = accelerator.num_processes * config.accumulate
    if config.batch % parts:
        raise UserError(
            f"batch is {config.batch}, which cannot be shared evenly by {accelerator.num_processes} processes that "
            f"accumulate {config.accumulate} parts each: give a multiple of {parts}"
        )
    return config.batch // parts


def numbers(config: TrainConfig, accelerator: "Accelerator", first: int, batches: int) -> list[range]:
    """The samples of this process's parts of that many batches, `first` being the first batch's first sample.

    Part m of process r is the (m R + r)-th of its batch, R processes.
    """
    size, processes = share(config, accelerator), accelerator.num_processes
    starts = range(first, first + batches * config.batch, size)[accelerator.process_index :: processes]
    return [range(start, start + size) for start in starts]


def make_parts(
    samples: Samples, config: TrainConfig, accelerator: "Accelerator", first: int, batches: int
) -> Iterator[Batch]:
    """This process's parts of that many batches from sample `first` on, made ahead by `config.workers` processes.

    Raises: UserError if the pictures do not give the samples.
    """
    loader = DataLoader(
        ByNumbers(samples),
        batch_size=None,
        sampler=numbers(config, accelerator, first, batches),
        num_workers=config.workers,
        pin_memory=accelerator.device.type == "cuda",
    )
    for part in loader:
        if isinstance(part, UserError):
            raise part
        yield part


class ByNumbers(Dataset[Batch | UserError]):
    """One item is one part of a batch. A user's mistake is handed over: raised in a worker, it would be a traceback."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples

    def __getitem__(self, which: range) -> Batch | UserError:
        try:
            return self.samples.samples(which)
        except UserError as error:
            return error
