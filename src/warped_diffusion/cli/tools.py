"""Verbs for those who look inside: noise, training, benchmarks."""

from pathlib import Path
from typing import Annotated

import typer

from warped_diffusion.cli.arguments import Overwrite, Range, frame_range, pixels
from warped_diffusion.cli.talk import bar, talk
from warped_diffusion.cli.verbs import app
from warped_diffusion.errors import UserError


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
    options = Options(scheme, spectrum, fresh, motion, frames, pixels(size), flow, color, seed)
    source = files[0] if len(files) == 2 else None
    with bar("warping noise") as (begin, advance):
        warning = noise_video(files[-1], options, source, frame_range(range), sheet, overwrite, begin, advance)
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
    with bar("training") as (begin, advance):
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


@app.command()
def doctor() -> None:
    """Tell what is installed, what is missing and how to get it; exit code 1 if something that is needed is broken."""
    from warped_diffusion.doctor import examine, healthy

    findings = []
    for finding in examine():
        findings.append(finding)
        print(finding, flush=True)
    raise typer.Exit(0 if healthy(findings) else 1)
