"""The command line: one verb per action, results to stdout, progress and talk to stderr."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from warped_diffusion.errors import UserError, WarpedDiffusionError

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
talk = Console(stderr=True)

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output if it exists.")]
Task = Annotated[str, typer.Option(help="What was done to the clip.")]
Scale = Annotated[int, typer.Option(help="Factor between the small and the large clip, 2 to 8.")]
Range = Annotated[str, typer.Option("--range", metavar="START:END", help="Frames START up to, not including, END.")]


@app.command()
def restore(
    input: Annotated[Path, typer.Argument(help="The degraded clip.")],
    output: Annotated[Path, typer.Argument(help="The restored clip.")],
    task: Task = "super-resolution",
    scale: Scale = 4,
    model: Annotated[str, typer.Option(help="An embedded model's name, or the path of a weights file.")] = "embedded",
    noise: Annotated[str, typer.Option(help="Noise scheme: gp (warped by the flow), fixed or resample.")] = "gp",
    spectrum: Annotated[
        str | None, typer.Option(help="Noise spectrum: white or squared-exponential.", show_default="the model's own")
    ] = None,
    guidance: Annotated[str, typer.Option(help="Steering: denoised, network (the paper's) or none.")] = "denoised",
    strength: Annotated[float, typer.Option(help="Multiple of the guidance's default strength.")] = 1.0,
    steps: Annotated[int, typer.Option(help="Network evaluations a frame.")] = 20,
    solver: Annotated[str, typer.Option(help="euler or dpmpp-2m.")] = "euler",
    flow: Annotated[str, typer.Option(help="Estimator of optical flow.")] = "dis",
    lanes: Annotated[str, typer.Option(help="Frames in one batch, or auto.")] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of all randomness.")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...", show_default="a GPU if there is one")] = None,
    frames: Range = ":",
    compare: Annotated[
        Path | None, typer.Option(help="Also write input | each frame alone | restored, side by side.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Restore a degraded clip."""
    from warped_diffusion.restore import Options
    from warped_diffusion.restore_video import restore_video

    options = Options(
        task, scale, model, noise, spectrum, guidance, strength, steps, solver, flow, _lanes(lanes), seed, device
    )
    with _bar("restoring") as (begin, advance):
        result = restore_video(input, output, options, _range(frames), compare, overwrite, begin, advance)
    if result.warning:
        talk.print(f"warning: {result.warning}", highlight=False, soft_wrap=True)
    talk.print(f"{result.frames} frames in {result.seconds:.1f} s, {result.seconds / result.frames:.2f} s a frame")
    print(output)


@app.command()
def degrade(
    input: Annotated[Path, typer.Argument(help="A good clip.")],
    output: Annotated[Path, typer.Argument(help="The degraded clip.")],
    task: Task = "super-resolution",
    scale: Scale = 4,
    frames: Range = ":",
    overwrite: Overwrite = False,
) -> None:
    """Make a test input from a good clip, by the task's own degradation."""
    from warped_diffusion.restore_video import degrade_video

    warning = degrade_video(input, output, task, scale, _range(frames), overwrite)
    if warning:
        talk.print(f"warning: {warning}", highlight=False, soft_wrap=True)
    print(output)


@app.command()
def demo(
    scale: Annotated[int, typer.Option(help="4, or the paper's 8.")] = 4,
    steps: Annotated[int, typer.Option(help="Network evaluations a frame.")] = 20,
    out: Annotated[Path, typer.Option(help="Folder for the clips.")] = Path("out/demo"),
) -> None:
    """Restore the sample clip, compare it with each frame alone, and measure both."""
    from warped_diffusion.demo import run_demo

    with _bar("restoring the sample") as (begin, advance):
        report = run_demo(scale, steps, out, begin, advance)
    print(report.markdown())


@app.command()
def train(
    config: Annotated[str, typer.Argument(help="A TOML file, or the name of a preset such as embedded-sr.")],
    pictures: Annotated[str | None, typer.Option(help="Folder of packed pictures.")] = None,
    out: Annotated[str | None, typer.Option(help="Folder for checkpoints, loss log and weights.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps in all, those of a resumed run included.")] = None,
    warm_start: Annotated[str | None, typer.Option(help="Weights to begin with.")] = None,
) -> None:
    """Train an embedded network, or go on with a run that was stopped."""
    from warped_diffusion.training import read_config, train

    settings = read_config(config, pictures=pictures, out=out, steps=steps, warm_start=warm_start)
    with _bar("training") as (begin, advance):
        begin(settings.steps)
        done = 0

        def report(step: int, steps: int, loss: float, seconds: float) -> None:
            nonlocal done
            advance(step - done, f"loss {loss:.3f}")
            done = step

        weights = train(settings, report)
    print(weights)


@app.command()
def bench(
    name: Annotated[str, typer.Argument(help="The benchmark; `list` names them.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the report and for what the benchmark draws.")] = None,
    pictures: Annotated[Path | None, typer.Option(help="Folder of packed pictures, where one is needed.")] = None,
    model: Annotated[str, typer.Option(help="An embedded model's name, or the path of a weights file.")] = "embedded",
    spectrum: Annotated[
        str | None, typer.Option(help="Noise spectrum.", show_default="the model's own, or all")
    ] = None,
    scale: Annotated[int, typer.Option(help="Factor, where one is measured.")] = 8,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    seed: Annotated[int, typer.Option(help="Seed of all randomness.")] = 0,
    repeats: Annotated[int, typer.Option(help="Repeats of each timing.")] = 5,
) -> None:
    """Run a benchmark: a Markdown table to stdout, with the machine that it ran on."""
    from warped_diffusion.bench import BENCHMARKS, run_benchmark

    if name == "list":
        print("\n".join(BENCHMARKS))
        return
    options = {"pictures": pictures, "model": model, "spectrum": spectrum, "scale": scale}
    report = run_benchmark(name, out, **options, device=device, seed=seed, repeats=repeats)
    print(report.markdown())


def main() -> None:
    """Entry point: a user's mistake gives one sentence and exit code 2, a fault of ours 1."""
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except WarpedDiffusionError as error:
        print(f"fault: {error}", file=sys.stderr)
        sys.exit(1)


class _bar:
    """A progress bar on stderr with the time left: `with _bar(title) as (begin(total), advance(count, note))`."""

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


def _range(text: str) -> tuple[int | None, int | None]:
    """START:END, either of which may be left out.   Raises: UserError if it is anything else."""
    start, colon, end = text.partition(":")
    if not colon or not all(part == "" or part.isdigit() for part in (start, end)):
        raise UserError(f"--range is START:END in frames, for example 24:48 or :48, got {text!r}")
    bounds = int(start) if start else None, int(end) if end else None
    if end and int(end) <= (bounds[0] or 0):
        raise UserError(f"--range {text} holds no frame: END must be larger than START")
    return bounds


def _lanes(text: str) -> int | str:
    if text == "auto" or text.isdigit():
        return text if text == "auto" else int(text)
    raise UserError(f"--lanes is a whole number or auto, got {text!r}")


if __name__ == "__main__":
    main()
