"""The verb that makes the paper's tables."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from warped_diffusion.cli.arguments import Blur, Scale, Task, names, numbers
from warped_diffusion.cli.talk import bar, talk
from warped_diffusion.cli.verbs import app

if TYPE_CHECKING:
    from warped_diffusion.evaluate.ways import Way

ALL, OWN, NONE = "all", "own", "none"


@app.command()
def evaluate(
    clips: Annotated[
        list[str],
        typer.Argument(
            metavar="CLIPS...",
            help="Videos, folders of videos or frames, sample, or synthetic[:PICTURES][:MOTION], pictures moved.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for results and reports; goes on with what it holds.")],
    task: Task = "super-resolution",
    scale: Scale = None,
    blur: Blur = None,
    models: Annotated[str, typer.Option(help="Models, with commas between, as `restore --model` takes them.")] = (
        "embedded"
    ),
    schemes: Annotated[str, typer.Option(help="Noise schemes: all, or some with commas between.")] = ALL,
    spectra: Annotated[
        str, typer.Option(help="Noise spectra: own, each model's, all, or some with commas between.")
    ] = OWN,
    guidance: Annotated[str, typer.Option(help="Guidance: some of none, network, denoised.")] = "none,network,denoised",
    peers: Annotated[
        str, typer.Option(help="Others in the same tables: all, none, or some of bicubic, warp-only, real-esrgan.")
    ] = NONE,
    no_warping: Annotated[
        bool,
        typer.Option("--no-warping", help="Instead of --schemes: noise that follows against noise that does not."),
    ] = False,
    seeds: Annotated[int, typer.Option(help="Restorations of each clip in each way, seeds 0, 1, ...")] = 1,
    frames: Annotated[int, typer.Option(help="Frames of each clip, at most.")] = 16,
    size: Annotated[
        int | None, typer.Option(help="Side of the square that clips are cut to.", show_default="their own")
    ] = None,
    steps: Annotated[str, typer.Option(help="Network evaluations a frame; several with commas between.")] = "20",
    motions: Annotated[str, typer.Option(help="Of synthetic clips: all, or some of shift, subpixel, ...")] = ALL,
    flow: Annotated[str, typer.Option(help="Estimator of optical flow that clips are restored along.")] = "auto",
    jobs: Annotated[int, typer.Option(help="Processes, each with a clip of its own.")] = 1,
) -> None:
    """Restore clips in many ways and measure them: the paper's tables, for any model."""
    from warped_diffusion.bench import machine
    from warped_diffusion.evaluate import clips as sources
    from warped_diffusion.evaluate import run, tables
    from warped_diffusion.evaluate.page import write_page
    from warped_diffusion.evaluate.settings import Settings

    several = numbers(steps, "--steps")
    one = several[0] if len(several) == 1 and not no_warping else None
    settings = Settings(task, scale, blur, frames, size, one, flow=flow)
    moved = tuple(sources.MOTIONS) if motions == ALL else names(motions)
    ways = _ways(names(models), schemes, spectra, names(guidance), several, no_warping) + _peers(peers)
    with bar("evaluating") as (begin, advance):
        found = sources.all_clips(clips, frames, size, moved)
        run.evaluate(found, settings, ways, out, seeds, jobs, begin, advance)
    _, text = tables.write_report(out, str(machine()))
    failed = len(tables.gather(out)["failed"])
    if failed:
        talk.print(f"warning: {failed} failed, named at the end of {text}", highlight=False, soft_wrap=True)
    print(text)
    print(write_page(out))


def _ways(
    models: list[str], schemes: str, spectra: str, guidance: list[str], steps: list[int], no_warping: bool
) -> "tuple[Way, ...]":
    from warped_diffusion.evaluate.ways import grid, without_warping
    from warped_diffusion.noise import SCHEMES, SPECTRA

    bands: list[str | None] = [None] if spectra == OWN else list(SPECTRA if spectra == ALL else names(spectra))
    if no_warping:
        return without_warping(steps, models, bands, guidance)
    chosen = list(SCHEMES) if schemes == ALL else names(schemes)
    return grid(models, chosen, bands, guidance, [None] if len(steps) == 1 else steps)


def _peers(text: str) -> "tuple[Way, ...]":
    from warped_diffusion.evaluate.peers import PEERS
    from warped_diffusion.evaluate.ways import Way

    chosen = {ALL: list(PEERS), NONE: []}.get(text, names(text))
    return tuple(Way(name) for name in chosen)
