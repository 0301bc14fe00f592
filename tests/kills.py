"""Restores the same clip again and again in a process that is killed, until one is left alone: run as a program.

    python -m tests.kills CLIP OUTPUT MODEL KILLS SEED

Each attempt is a fork of a process that has everything loaded, killed after a random part of the time that a whole run
takes; the last one is not. Prints how many evaluations of the denoiser all attempts took, and of how many frames each.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from warped_diffusion.options import Options
from warped_diffusion.restore_video import restore_video

STEPS, LANES, CUT = 3, 3, 17


def restored(source: Path, target: Path, model: Path, note: Path) -> int:
    with note.open("a") as evaluations:

        def progress(count: int) -> None:
            evaluations.write(f"{count}\n")
            evaluations.flush()

        options = Options(scale=2, steps=STEPS, lanes=LANES, model=model, device="cpu", flow="dis", cuts=(CUT,))
        return restore_video(source, target, options, progress=progress).resumed


def attempt(work: "tuple[Path, Path, Path, Path]", seconds: float | None) -> bool:
    """Whether a process that is killed after so long, or never, came to its end."""
    child = os.fork()
    if child == 0:
        try:
            restored(*work)
        except BaseException as error:
            print(error, file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if seconds is None and status != 0:
        sys.exit("the attempt that was left alone failed")
    return status == 0


def main(clip: str, output: str, model: str, kills: str, seed: str) -> None:
    torch.set_num_threads(1)
    target, draw = Path(output), random.Random(int(seed))
    whole = target.with_name("whole.mp4")
    began = time.monotonic()
    attempt((Path(clip), whole, Path(model), target.with_suffix(".whole")), None)
    duration = time.monotonic() - began
    notes = []
    for number in range(int(kills) + 1):
        notes.append(target.with_suffix(f".{number}"))
        last = number == int(kills)
        # Most attempts have less to do than a whole run.
        until = None if last else duration * draw.uniform(0.1, 1.2) * 3 / (3 + int(kills))
        if not target.exists():
            attempt((Path(clip), target, Path(model), notes[-1]), until)
    counts = [[int(line) for line in note.read_text().split()] for note in notes if note.exists()]
    print(json.dumps(counts))


if __name__ == "__main__":
    main(*sys.argv[1:])
