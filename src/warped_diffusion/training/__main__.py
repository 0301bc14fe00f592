"""`python -m warped_diffusion.training CONFIG`, and `accelerate launch -m warped_diffusion.training CONFIG`."""

import argparse
import sys
import time
from collections.abc import Sequence

from warped_diffusion.errors import UserError
from warped_diffusion.training.config import read_config, read_overrides
from warped_diffusion.training.dry_run import dry_run
from warped_diffusion.training.loop import Report, train

EVERY = 10.0
"""Seconds between two lines of progress."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains in this process, one of a run's; returns the exit code, 2 for a user's mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m warped_diffusion.training",
        description="Train in as many processes as `accelerate launch` or `torchrun` started.",
        epilog="Any other --KEY VALUE replaces that key of the configuration: --steps 1000 --betas 0.9,0.999",
    )
    parser.add_argument("config", help="a TOML file, or the name of a preset such as embedded-sr")
    parser.add_argument("--dry-run", action="store_true", help="report what the run would take, and write nothing")
    known, rest = parser.parse_known_args(arguments)
    try:
        config = read_config(known.config, **read_overrides(rest))
        result = dry_run(config) if known.dry_run else train(config, _progress(), _say)
    except UserError as error:
        _say(f"error: {error}")
        return 2
    _part(result)
    return 0


def _part(result: object) -> None:
    """The main process prints the result; all of them part."""
    from accelerate import PartialState

    state = PartialState()
    if state.is_main_process:
        print(result)
    state.destroy_process_group()


def _progress() -> Report:
    """A line on stderr every few seconds."""
    last = 0.0

    def report(step: int, steps: int, loss: float, seconds: float) -> None:
        nonlocal last
        if step == steps or time.monotonic() - last >= EVERY:
            last = time.monotonic()
            left = (steps - step) * seconds / 60
            _say(f"step {step} of {steps}, loss {loss:.4g}, {seconds:.3g} s a step, {left:.0f} min left")

    return report


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
