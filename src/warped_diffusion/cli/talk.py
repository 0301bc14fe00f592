"""What is said while a command runs, on stderr."""

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

talk = Console(stderr=True)


class bar:
    """A progress bar on stderr with the time left: `with bar(title) as (begin(total), advance(count, note))`."""

    def __init__(self, title: str) -> None:
        columns: tuple[Any, ...] = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        times = (
            TimeElapsedColumn(),
            TextColumn("elapsed,"),
            TimeRemainingColumn(),
            TextColumn("left {task.fields[note]}"),
        )
        self.progress = Progress(*columns, *times, console=talk, speed_estimate_period=120)
        self.task = self.progress.add_task(title, total=None, note="")

    def __enter__(self) -> tuple[Any, Any]:
        self.progress.start()
        return self.begin, self.advance

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def begin(self, total: int | None) -> None:
        self.progress.update(self.task, total=total)

    def advance(self, count: int, note: str = "") -> None:
        self.progress.update(self.task, advance=count, note=note)
