"""An evaluation: every clip in every way with every seed, in one process or several, taken up where it was left."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from warped_diffusion.errors import UserError
from warped_diffusion.evaluate.clips import Source
from warped_diffusion.evaluate.peers import PEERS
from warped_diffusion.evaluate.settings import Settings, settle
from warped_diffusion.evaluate.store import clip_folder, write_json
from warped_diffusion.evaluate.ways import ORIGINAL, Way, distinct
from warped_diffusion.evaluate.work import Piece, failed, pieces, unfinished, work

THREADS = "OMP_NUM_THREADS"
Count = Callable[[int], None]


def evaluate(
    sources: Sequence[Source],
    settings: Settings,
    ways: Sequence[Way],
    out: Path,
    seeds: int = 1,
    jobs: int = 1,
    begin: Callable[[int | None], None] = lambda _: None,
    advance: Count = lambda _: None,
) -> None:
    """Restore and measure clips; results go into `out` (see `store`), where finished ones are not made again.

    What a piece gives is a function of its clip, way and seed: not of what else runs, or in how many processes. What
    fails is written down, and tried again by the next run.

    Args:
        ways: peers among them; the original is measured besides.
        seeds: of each way, from 0 up.
        jobs: processes, each with a clip of its own and its share of the threads.
        begin, advance: told of how many restorations there are, and of those done.
    Raises: UserError for options that cannot be used, or if `out` holds results of others; not for a clip or a way that
        fails.
    """
    if seeds < 1 or jobs < 1:
        raise UserError(f"seeds is {seeds}, jobs is {jobs}: give whole numbers from 1 up")
    for way in ways:
        if way.is_peer and way.model not in (*PEERS, ORIGINAL):
            raise UserError(f"peer {way.model!r} is not known: choose of {', '.join(PEERS)}")
    ways = distinct([Way(ORIGINAL), *ways])
    _ = settings.degradation  # tells at once of a task that there is not
    settle(out, settings, ways)
    wanted = pieces(ways, seeds)
    open_ = [(source, unfinished(out, source.name, wanted)) for source in sources]
    begin(len(sources) * len(wanted))
    advance(len(sources) * len(wanted) - sum(len(todo) for _, todo in open_))
    tasks = deque(Task(source, todo) for source, todo in open_ if todo)
    if jobs == 1:
        for task in tasks:
            work(task.source, settings, task.todo, out, lambda _: advance(1), lambda: None)
    else:
        _in_processes(tasks, settings, out, jobs, advance)


@dataclass
class Task:
    """A clip, and what of it is still to be done."""

    source: Source
    todo: list[Piece]
    opened: bool = False


@dataclass
class _Worker:
    task: Task
    process: BaseProcess
    messages: Connection


def _in_processes(tasks: deque[Task], settings: Settings, out: Path, jobs: int, advance: Count) -> None:
    """A process for each clip, `jobs` of them at a time; one that dies takes what it was at with it, and no more."""
    working: list[_Worker] = []
    threads = max(1, torch.get_num_threads() // jobs)
    try:
        while tasks or working:
            while tasks and len(working) < jobs:
                working.append(_start(tasks.popleft(), settings, out, threads))
            wait([worker.messages for worker in working])
            for worker in list(working):
                advance(_heard(worker))
                if worker.messages.closed:
                    working.remove(worker)
                    worker.process.join()
                    if worker.task.todo:
                        advance(_died(worker, out))
                        if worker.task.todo:
                            tasks.append(worker.task)
    finally:
        for worker in working:
            worker.process.kill()


def _start(task: Task, settings: Settings, out: Path, threads: int) -> _Worker:
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    messages, ours = context.Pipe(duplex=False)
    arguments = (task.source, settings, list(task.todo), out, ours, threads)
    process = context.Process(target=_work, args=arguments, daemon=True)
    with _threads(threads):
        process.start()
    ours.close()  # the worker's own end is then the last, and closes with it
    return _Worker(task, process, messages)


def _heard(worker: _Worker) -> int:
    """How many pieces a worker has finished since it was last asked; its pipe is closed once it has ended."""
    done = 0
    try:
        while worker.messages.poll():
            message = worker.messages.recv()
            if message is None:
                worker.task.opened = True
            else:
                worker.task.todo.remove(message)
                done += 1
    except EOFError:
        worker.messages.close()
    return done


def _died(worker: _Worker, out: Path) -> int:
    """Write down what a worker left by ending before its work did; how many pieces are given up for it."""
    code, task = worker.process.exitcode or 0, worker.task
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    why = f"the process at work on it {how}: it may have run out of memory, give fewer --jobs"
    if task.opened:
        failed(out, task.source.name, task.todo.pop(0), why)
        return 1
    write_json(clip_folder(out, task.source.name) / "clip.json", {"name": task.source.name, "error": why})
    given_up = len(task.todo)
    task.todo.clear()
    return given_up


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """While a process is started: libraries that it loads read there how many threads are theirs."""
    before = os.environ.get(THREADS)
    os.environ[THREADS] = str(count)
    try:
        yield
    finally:
        if before is None:
            del os.environ[THREADS]
        else:
            os.environ[THREADS] = before


def _work(
    source: Source, settings: Settings, todo: Sequence[Piece], out: Path, messages: Connection, threads: int
) -> None:
    """What a worker does: it tells of every piece, and ends with its parent, which may be killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    torch.set_num_threads(threads)
    work(source, settings, todo, out, messages.send, lambda: messages.send(None))


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
