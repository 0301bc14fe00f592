"""Clips of a batch as tasks of a Ray cluster: over machines, or over workers of this one.

What a worker leaves undone when it is lost, another takes up, from the clip's journal.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from warped_diffusion.batch import Clip, Division, Outcome, died
from warped_diffusion.errors import UserError

Work = Callable[[Clip], Outcome]

LOCAL = "local"
"""The address that stands for workers of this machine, begun for the batch and ended with it."""

RETRIES = 3
"""So many times a clip is begun again whose worker was lost."""

OBJECTS = 100 * 2**20
"""Bytes that Ray sets aside for what tasks return: a sentence for each clip."""


@dataclass(frozen=True)
class Cluster:
    """A `Runner`: clips wait for a machine that is free, and one whose worker is lost goes to another.

    Files must be at the same place for all machines: in a folder that they share, or at a URL. On the first interrupt
    (Ctrl-C) the clips under way are interrupted and told of, and no other begins; a second one leaves them.

    Args:
        address: `LOCAL`; `auto`, the cluster that this machine belongs to; or ray://HOST:PORT.
        jobs: clips at the same time on each machine, which divide its GPUs and cores; None for one on each GPU, or one
            where there is none.
        divide: whether clips are restored in parts, where they have several shots, so that one is the work of many;
            None for where there are fewer clips than can be restored at the same time.
    Raises: UserError for fewer than one, without the library, and if the cluster cannot be reached.
    """

    address: str = LOCAL
    jobs: int | None = None
    divide: bool | None = None

    def __post_init__(self) -> None:
        if self.jobs is not None and self.jobs < 1:
            raise UserError(f"jobs is a whole number from 1 up, got {self.jobs}")

    def __call__(self, work: Work, clips: Sequence[Clip]) -> Iterator[Outcome]:
        with _connected(self.address) as ray:
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            share, threads = self._share(nodes)
            apart = self._divides(len(clips), nodes)
            task = ray.remote(_serve).options(max_retries=RETRIES, **share)
            waiting = {task.remote(work, clip, threads): clip for clip in (replace(c, apart=apart) for c in clips)}
            division, stopping = Division(), False
            while waiting:
                try:
                    (ready,), _ = ray.wait(list(waiting), num_returns=1)
                except KeyboardInterrupt:
                    if stopping:
                        raise
                    stopping = True
                    for reference in waiting:
                        ray.cancel(reference)
                    continue
                outcome = _outcome(ray, ready, waiting.pop(ready))
                following = division.after(outcome)
                if not stopping:
                    waiting |= {task.remote(work, clip, threads): clip for clip in following}
                yield outcome
            yield from division.unfinished()

    def _jobs(self, nodes: Sequence[dict[str, float]]) -> int:
        """Clips at the same time on each of the machines."""
        return self.jobs or max(1, int(min(node.get("GPU", 0.0) for node in nodes)))

    def _divides(self, clips: int, nodes: Sequence[dict[str, float]]) -> bool:
        """Whether so many clips are divided."""
        return clips < len(nodes) * self._jobs(nodes) if self.divide is None else self.divide

    def _share(self, nodes: Sequence[dict[str, float]]) -> tuple[dict[str, float], int]:
        """What a clip takes of a machine, as Ray counts it, and the threads that are its part."""
        gpus = min(node.get("GPU", 0.0) for node in nodes)
        cores = min(node.get("CPU", 1.0) for node in nodes)
        jobs = self._jobs(nodes)
        mine = cores / jobs
        return {"num_cpus": int(mine) if mine >= 1 else mine, "num_gpus": gpus / jobs}, max(1, int(mine))


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """The library, in touch with a cluster until the context ends."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    if address.startswith("ray://") and _has_token():
        os.environ.setdefault(
            "RAY_AUTH_MODE", "token"
        )  # of its own accord it is shown to clusters of this machine alone
    try:
        import ray
    except ImportError as error:
        raise UserError('a cluster needs Ray, which is missing: pip install "warped-diffusion[cluster]"') from error
    here = {"include_dashboard": False, "object_store_memory": OBJECTS} if address == LOCAL else {}
    try:
        ray.init(address, log_to_driver=False, logging_level="warning", **here)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"the cluster {address} cannot be used: {error} Give local, auto or ray://HOST:PORT, see that it runs, and "
            "where it has a token that this machine has it as well"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _has_token() -> bool:
    """Whether there is a token for clusters, wherever Ray looks for one."""
    named = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    return named or (Path.home() / ".ray" / "auth_token").is_file()


def _serve(work: Work, clip: Clip, threads: int) -> Outcome:
    """In a worker."""
    torch.set_num_threads(threads)
    try:
        return work(clip)
    except KeyboardInterrupt:
        return Outcome(clip, "stopped")


def _outcome(ray: Any, reference: Any, clip: Clip) -> Outcome:
    try:
        outcome: Outcome = ray.get(reference)
    except ray.exceptions.TaskCancelledError:  # before it had begun
        return Outcome(clip, "stopped")
    except ray.exceptions.RayError as error:
        return died(clip, f"was lost {RETRIES + 1} times ({type(error).__name__})")
    return outcome
