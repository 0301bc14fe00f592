"""Restores the same clip again and again in a process that is killed, until one is left alone: run as a program.

    python -m tests.kills CLIP OUTPUT MODEL KILLS SEED

Each attempt is the command `warped-diffusion restore` in a fork of a process that has everything loaded, killed after a
random part of the time that a whole run takes; the last one is not. Prints how many evaluations of the denoiser all
attempts took, and of how many frames each.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

import warped_diffusion.restore_video  # noqa: F401
from warped_diffusion import cli
from warped_diffusion.cli import talk

STEPS, LANES, CUT = 3, 3, 17


def restored(source: Path, target: Path, model: Path, note: Path) -> int:
    """The command's exit code; each call of its progress is noted."""
    with note.open("a") as evaluations:

        def advance(_: talk.bar, count: int, __: str = "") -> None:
            evaluations.write(f"{count}\n")
            evaluations.flush()

        talk.bar.advance = advance  # type: ignore[method-assign]
        options = f"--scale 2 --steps {STEPS} --lanes {LANES} --device cpu --flow dis --cuts {CUT} --model".split()
        sys.argv = ["warped-diffusion", "restore", str(source), str(target), *options, str(model)]
        try:
            cli.main()
        except SystemExit as stop:
            return int(stop.code or 0)
    return 0


def attempt(work: "tuple[Path, Path, Path, Path]", seconds: float | None) -> bool:
    """Whether a process that is killed after so long, or never, came to its end."""
    child = os.fork()
    if child == 0:
        os.dup2(2, 1)  # what the command prints is not what this program prints
        code = 1
        try:
            code = restored(*work)
        except BaseException as error:
            print(error, file=sys.stderr, flush=True)
        os._exit(code)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if seconds is None and status != 0:
        sys.exit("the attempt that was left alone failed")
    return status == 0


def finished(target: Path, whole: Path) -> bool:
    """Whether an attempt was killed when the output was there and its journal gone."""
    made = [path for path in target.parent.glob(f"*{target.suffix}") if path != whole]
    return bool(made) and not target.with_name(f"{target.name}.journal").exists()


def main(clip: str, output: str, model: str, kills: str, seed: str) -> None:
    torch.set_num_threads(1)
    target, draw = Path(output), random.Random(int(seed))
    notes = target.parent.parent if "%" in target.name else target.parent
    whole = notes / "whole" / target.name if "%" in target.name else target.with_name("whole.mp4")
    whole.parent.mkdir(exist_ok=True)
    began = time.monotonic()
    attempt((Path(clip), whole, Path(model), notes / "out.whole"), None)
    duration = time.monotonic() - began
    made, done = [], False
    while not done:
        made.append(notes / f"out.{len(made)}")
        # Most attempts have less to do than a whole run.
        until = None if len(made) > int(kills) else duration * draw.uniform(0.1, 1.2) * 3 / (3 + int(kills))
        done = attempt((Path(clip), target, Path(model), made[-1]), until) or finished(target, whole)
    counts = [[int(line) for line in note.read_text().split()] for note in made if note.exists()]
    print(json.dumps(counts))


if __name__ == "__main__":
    main(*sys.argv[1:])
