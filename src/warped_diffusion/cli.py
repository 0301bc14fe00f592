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
Scale = Annotated[
    int | None,
    typer.Option(help="Factor between the small and the large clip, 2 to 8.", show_default="4 for super-resolution"),
]
Blur = Annotated[
    float | None,
    typer.Option(help="Deviation of the blur in pixels.", show_default="1.5 for deblurring"),
]
Range = Annotated[str, typer.Option("--range", metavar="START:END", help="Frames START up to, not including, END.")]

Mask = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|alpha",
        help="What to fill in, white: a picture, a video or folder with one for each frame, or the alpha channel.",
    ),
]
MaskBox = Annotated[
    str | None, typer.Option(metavar="LEFT,TOP,WIDTH,HEIGHT", help="A box to fill in, in pixels, instead of a mask.")
]


@app.command()
def restore(
    input: Annotated[Path, typer.Argument(help="The degraded clip.")],
    output: Annotated[Path, typer.Argument(help="The restored clip.")],
    task: Task = "super-resolution",
    scale: Scale = None,
    blur: Blur = None,
    model: Annotated[
        str,
        typer.Option(
            help="embedded, a weights file, or a pretrained model: a folder in diffusers' format or a hub's OWNER/NAME."
        ),
    ] = "embedded",
    prompt: Annotated[str, typer.Option(help="Of a pretrained model: what the frames show.")] = "",
    negative_prompt: Annotated[str, typer.Option(help="And what they should not look like.")] = "",
    cfg: Annotated[float, typer.Option(help="Weight of the prompt; up to 1 at half the cost.")] = 5.0,
    dtype: Annotated[str, typer.Option(help="Of a pretrained model: auto, bf16, fp16 or fp32.")] = "auto",
    offload: Annotated[
        str,
        typer.Option(help="What of a pretrained model waits in main memory: none, model or sequential."),
    ] = "none",
    lora: Annotated[
        str | None,
        typer.Option(help="Low-rank weights to add to it: file, folder or hub name."),
    ] = None,
    consistency: Annotated[
        bool | None,
        typer.Option(
            help="Project estimates towards the input.",
            show_default="for models not told of it",
        ),
    ] = None,
    tile: Annotated[
        str,
        typer.Option(
            metavar="auto|none|PIXELS",
            help="Large frames are restored in overlapping tiles of that side; auto: the model's own.",
        ),
    ] = "auto",
    decoded_guidance: Annotated[
        float, typer.Option(help="Also align a latent model's decoded frames, by this strength.")
    ] = 0.0,
    allow_pickle: Annotated[
        bool,
        typer.Option("--allow-pickle", help="Also read a pretrained model's pickled weights, which can run any code."),
    ] = False,
    noise: Annotated[
        str, typer.Option(help="Noise: gp (follows the flow), integral, bilinear, nearest, fixed or resample.")
    ] = "gp",
    fresh: Annotated[float, typer.Option(help="Share of the noise's variance drawn anew in every frame.")] = 0.0,
    spectrum: Annotated[
        str | None, typer.Option(help="Noise spectrum: white or squared-exponential.", show_default="the model's own")
    ] = None,
    guidance: Annotated[str, typer.Option(help="Steering: denoised, network (the paper's) or none.")] = "denoised",
    strength: Annotated[float, typer.Option(help="Multiple of the guidance's default strength.")] = 1.0,
    detail: Annotated[
        float | None,
        typer.Option(
            help="From 0, faithful and smooth, to 1, all the detail that is made up.", show_default="the task's own"
        ),
    ] = None,
    steps: Annotated[int, typer.Option(help="Network evaluations a frame.")] = 20,
    solver: Annotated[str, typer.Option(help="euler or dpmpp-2m.")] = "euler",
    flow: Annotated[
        str, typer.Option(help="Estimator of optical flow: auto, refined, dis, raft or raft-small.")
    ] = "auto",
    lanes: Annotated[str, typer.Option(help="Frames in one batch, or auto.")] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of all randomness.")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...", show_default="a GPU if there is one")] = None,
    cuts: Annotated[
        str,
        typer.Option(
            metavar="auto|none|LIST",
            help="Scene cuts: found, none, or the clip's frames, counted from 0, that begin a shot, such as 48,120.",
        ),
    ] = "auto",
    frames: Range = ":",
    mask: Mask = None,
    mask_box: MaskBox = None,
    track_mask: Annotated[
        bool, typer.Option("--track-mask", help="The mask is of the first frame, and moves with what it covers.")
    ] = False,
    pad: Annotated[
        str | None,
        typer.Option(metavar="LEFT,TOP,RIGHT,BOTTOM", help="Pixels to add around the frame, to be filled in."),
    ] = None,
    dilate: Annotated[int | None, typer.Option(help="Pixels by which the mask is grown.", show_default="4")] = None,
    feather: Annotated[
        int | None,
        typer.Option(help="Pixels around it in which what is filled in passes into the clip.", show_default="4"),
    ] = None,
    compare: Annotated[
        Path | None, typer.Option(help="Also write input | each frame alone | restored, side by side.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Restore a degraded clip."""
    from warped_diffusion.models import PretrainedOptions
    from warped_diffusion.options import Options
    from warped_diffusion.restore_video import restore_video

    options = Options(
        task=task,
        scale=scale,
        blur=blur,
        model=model,
        noise=noise,
        spectrum=spectrum,
        guidance=guidance,
        strength=strength,
        detail=detail,
        steps=steps,
        solver=solver,
        flow=flow,
        lanes=_lanes(lanes),
        seed=seed,
        device=device,
        fresh=fresh,
        dilate=dilate,
        feather=feather,
        cuts=_cuts(cuts),
        consistency=consistency,
        tile=_tile(tile),
        decoded_guidance=decoded_guidance,
        pretrained=PretrainedOptions(prompt, negative_prompt, cfg, dtype, offload, allow_pickle, lora),
    )
    box, border = _four(mask_box, "--mask-box"), _four(pad, "--pad")
    with _bar("restoring") as (begin, advance):
        result = restore_video(
            input,
            output,
            options,
            _range(frames),
            compare,
            overwrite,
            begin,
            advance,
            mask=mask,
            mask_box=box,
            track_mask=track_mask,
            pad=border,
        )
    if result.warning:
        talk.print(f"warning: {result.warning}", highlight=False, soft_wrap=True)
    talk.print(f"{result.frames} frames in {result.seconds:.1f} s, {result.seconds / result.frames:.2f} s a frame")
    print(output)


@app.command()
def degrade(
    input: Annotated[Path, typer.Argument(help="A good clip.")],
    output: Annotated[Path, typer.Argument(help="The degraded clip.")],
    task: Task = "super-resolution",
    scale: Scale = None,
    blur: Blur = None,
    frames: Range = ":",
    mask: Mask = None,
    mask_box: MaskBox = None,
    overwrite: Overwrite = False,
) -> None:
    """Make a test input from a good clip, by the task's own degradation."""
    from warped_diffusion.restore_video import degrade_video

    box = _four(mask_box, "--mask-box")
    warning = degrade_video(input, output, task, scale, _range(frames), overwrite, mask, box, blur)
    if warning:
        talk.print(f"warning: {warning}", highlight=False, soft_wrap=True)
    print(output)


@app.command()
def demo(
    task: Annotated[str, typer.Option(help="super-resolution or clean-up.")] = "super-resolution",
    scale: Annotated[int | None, typer.Option(help="4, or the paper's 8, for super-resolution.")] = None,
    steps: Annotated[int, typer.Option(help="Network evaluations a frame.")] = 20,
    out: Annotated[Path, typer.Option(help="Folder for the clips.")] = Path("out/demo"),
) -> None:
    """Restore the sample clip, compare it with each frame alone, and measure both."""
    from warped_diffusion.demo import run_demo

    with _bar("restoring the sample") as (begin, advance):
        report = run_demo(task, scale, steps, out, begin, advance)
    print(report.markdown())


@app.command()
def noise(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="[INPUT] OUTPUT", help="A clip to follow, if any, and the clip of noise to write."),
    ],
    scheme: Annotated[str, typer.Option(help="Noise scheme, by the name that `restore --noise` takes.")] = "gp",
    spectrum: Annotated[str, typer.Option(help="Noise spectrum: white or squared-exponential.")] = "white",
    fresh: Annotated[float, typer.Option(help="Share of the variance that is drawn anew in every frame.")] = 0.0,
    motion: Annotated[
        str | None, typer.Option(help="A known motion, where there is no INPUT.", show_default="shift")
    ] = None,
    frames: Annotated[int | None, typer.Option(help="How many, where there is no INPUT.", show_default="24")] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Pixels.", show_default="INPUT's, or 320x180")] = None,
    range: Range = ":",
    flow: Annotated[
        str, typer.Option(help="Estimator of optical flow: auto, refined, dis, raft or raft-small.")
    ] = "auto",
    color: Annotated[bool, typer.Option("--color", help="Three channels instead of one in grey.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of all randomness.")] = 0,
    sheet: Annotated[Path | None, typer.Option(help="Also draw some frames, their spectra and what is new.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Show what a scheme makes of the noise: along a clip's motion, or a known one."""
    from warped_diffusion.noise_video import Options, noise_video

    if len(files) > 2:
        raise UserError(f"give [INPUT] OUTPUT, one or two files, got {len(files)}")
    options = Options(scheme, spectrum, fresh, motion, frames, _size(size), flow, color, seed)
    source = files[0] if len(files) == 2 else None
    with _bar("warping noise") as (begin, advance):
        warning = noise_video(files[-1], options, source, _range(range), sheet, overwrite, begin, advance)
    if warning:
        talk.print(f"warning: {warning}", highlight=False, soft_wrap=True)
    print(files[-1])


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def train(
    context: typer.Context,
    config: Annotated[str, typer.Argument(help="A TOML file, or the name of a preset such as embedded-sr.")],
    pictures: Annotated[str | None, typer.Option(help="Where the pictures come from.")] = None,
    out: Annotated[str | None, typer.Option(help="Folder for checkpoints, logs and the trained model.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps in all, those of a resumed run included.")] = None,
    warm_start: Annotated[str | None, typer.Option(help="Embedded weights to begin with.")] = None,
    dry: Annotated[
        bool, typer.Option("--dry-run", help="Report memory, data, steps and time, and write nothing.")
    ] = False,
) -> None:
    """Train a model, or go on with a run that was stopped. Any other --KEY VALUE replaces that key of CONFIG."""
    from warped_diffusion.training import dry_run, read_config, read_overrides, train

    given = {"pictures": pictures, "out": out, "steps": steps, "warm_start": warm_start}
    settings = read_config(config, **read_overrides(context.args) | given)
    if dry:
        print(dry_run(settings))
        return
    with _bar("training") as (begin, advance):
        begin(settings.steps)
        done = 0

        def report(step: int, steps: int, loss: float, seconds: float) -> None:
            nonlocal done
            advance(step - done, f"loss {loss:.3f}")
            done = step

        result = train(settings, report, lambda text: talk.print(text, highlight=False, soft_wrap=True))
    print(result)


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
    batch: Annotated[int, typer.Option(help="Warps in one call, where such calls are timed.")] = 100,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    seed: Annotated[int, typer.Option(help="Seed of all randomness.")] = 0,
    repeats: Annotated[int, typer.Option(help="Repeats of each timing.")] = 5,
    clip: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE[@START:END[/SHRINK]]",
            help="A real clip of one shot, made smaller by a whole factor first; may be given more than once.",
            show_default="the sample; to 400 pixels at most",
        ),
    ] = None,
    frames: Annotated[
        int | None, typer.Option(help="Frames of each real clip, at most.", show_default="the benchmark's own")
    ] = None,
) -> None:
    """Run a benchmark: a Markdown table to stdout, with the machine that it ran on."""
    from warped_diffusion.bench import BENCHMARKS, RealClip, run_benchmark

    if name == "list":
        print("\n".join(BENCHMARKS))
        return
    options = {"pictures": pictures, "model": model, "spectrum": spectrum, "scale": scale, "batch": batch}
    chosen = tuple(map(RealClip.parse, clip or ()))
    report = run_benchmark(name, out, **options, device=device, seed=seed, repeats=repeats, clip=chosen, frames=frames)
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


def _size(text: str | None) -> tuple[int, int] | None:
    """WIDTHxHEIGHT as (height, width).   Raises: UserError if it is anything else."""
    if text is None:
        return None
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise UserError(f"--size is WIDTHxHEIGHT in pixels, for example 320x180, got {text!r}")
    return int(height), int(width)


def _four(text: str | None, option: str) -> tuple[int, int, int, int] | None:
    """Four whole numbers.   Raises: UserError if it is anything else."""
    if text is None:
        return None
    try:
        first, second, third, fourth = (int(part) for part in text.split(","))
    except ValueError as error:
        raise UserError(f"{option} is four whole numbers of pixels, for example 40,30,120,80, got {text!r}") from error
    return first, second, third, fourth


def _cuts(text: str) -> str | tuple[int, ...]:
    """auto, none, or frame numbers.   Raises: UserError if it is anything else."""
    if text in ("auto", "none"):
        return text
    numbers = [part.strip() for part in text.split(",")]
    if not all(number.isdecimal() and int(number) for number in numbers):
        raise UserError(f"--cuts is auto, none or frames from 1 up that begin a shot, for example 48,120, got {text!r}")
    return tuple(map(int, numbers))


def _lanes(text: str) -> int | str:
    if text == "auto" or text.isdigit():
        return text if text == "auto" else int(text)
    raise UserError(f"--lanes is a whole number or auto, got {text!r}")


def _tile(text: str) -> int | str:
    if text in ("auto", "none") or text.isdigit():
        return int(text) if text.isdigit() else text
    raise UserError(f"--tile is auto, none or pixels a side, for example 512, got {text!r}")


if __name__ == "__main__":
    main()
