"""What a run leaves for people to read: loss.jsonl, TensorBoard's files, pictures that could not be used."""

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from torch import Tensor

from warped_diffusion.training.learner import Batch
from warped_diffusion.training.run import Step


class Log:
    """The record of a run in its folder: a line of loss.jsonl for each step, and the same for TensorBoard.

    Args:
        out: the run's folder.
        step: where the run goes on; what was written of later steps before it was killed is taken back.
        main: other processes write nothing.
    """

    def __init__(self, out: Path, step: int, main: bool) -> None:
        self.main = main
        if main:
            from torch.utils.tensorboard import SummaryWriter

            trim_log(out / "loss.jsonl", step)
            self.lines = open(out / "loss.jsonl", "a", buffering=1)  # noqa: SIM115 - closed in `__exit__`
            self.board = SummaryWriter(str(out / "tensorboard"), purge_step=step + 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.main:
            self.lines.close()
            self.board.close()

    def step(self, number: int, step: Step, seconds: float, skipped: int) -> None:
        """One step: its loss, null where it is not finite, and "skipped" where it changed nothing."""
        if self.main:
            loss = round(step.loss, 6) if math.isfinite(step.loss) else None
            line = {"step": number, "loss": loss, "seconds": round(seconds, 3)}
            self.lines.write(json.dumps(line if step.taken else line | {"skipped": True}) + "\n")
            scalars = {"loss": step.loss, "gradient norm": step.norm, "rate": step.rate, "seconds": seconds}
            for name, value in scalars.items():
                self.board.add_scalar(f"training/{name.replace(' ', '_')}", value, number)
            self.board.add_scalar("training/skipped", skipped, number)

    def validation(self, number: int, loss: float, shown: Tensor) -> None:
        """The averaged network's loss on held-out samples, and (3, H, W) in [0, 1] of what it makes of some."""
        if self.main:
            self.board.add_scalar("validation/loss", loss, number)
            self.board.add_image("validation/input_estimate_truth", shown, number)

    def flush(self) -> None:
        if self.main:
            self.board.flush()


class BadPictures:
    """Pictures that could not be used, a line for each in a file that all processes of all attempts at a run add to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.met = set(path.read_text().splitlines()) if path.is_file() else set[str]()

    def noted(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The batches as they are; what they met that was bad is written down."""
        for batch in batches:
            new = sorted(set(batch["bad"]) - self.met)
            if new:
                self.met.update(new)
                with open(self.path, "a") as file:
                    file.write("".join(f"{line}\n" for line in new))
            yield batch

    def count(self) -> int:
        """How many are in the file."""
        return len(set(self.path.read_text().splitlines())) if self.path.is_file() else 0


def trim_log(path: Path, step: int) -> None:
    """Leaves the lines of the loss log up to `step`: a killed run may have written more, the last one in part."""
    if path.is_file():
        lines = path.read_text().splitlines(keepends=True)
        whole = (line for line in lines if line.startswith("{") and line.endswith("}\n"))
        kept = [line for line in whole if json.loads(line)["step"] <= step]
        path.with_suffix(".part").write_text("".join(kept))
        os.replace(path.with_suffix(".part"), path)
