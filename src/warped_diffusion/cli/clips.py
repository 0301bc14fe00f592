"""Verbs that restore or degrade clips."""

from pathlib import Path
from typing import Annotated, Any

import typer

from warped_diffusion.cli.arguments import (
    Blur,
    Codec,
    FrameRate,
    Mask,
    MaskBox,
    Overwrite,
    Quality,
    Range,
    Scale,
    Task,
    cut_list,
    four_numbers,
    frame_range,
    lane_count,
    quality_value,
    rate_value,
    tile_side,
)
from warped_diffusion.cli.sharing import sharing
from warped_diffusion.cli.talk import bar, talk
from warped_diffusion.cli.verbs import app
from warped_diffusion.errors import UserError


def asked(
    task: Annotated[
        str | None,
        typer.Option(
            help="What was done to the clip.", show_default="what the model was trained for, or super-resolution"
        ),
    ] = None,
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
    preset: Annotated[
        str | None,
        typer.Option(help="draft, standard or best: steps, solver and guided in one.", show_default="those given"),
    ] = None,
    guided: Annotated[float, typer.Option(help="Share of the steps, the last ones, in which guidance acts.")] = 1.0,
    flow: Annotated[
        str, typer.Option(help="Estimator of optical flow: auto, refined, dis, raft or raft-small.")
    ] = "auto",
    lanes: Annotated[str, typer.Option(help="Frames in one batch, or auto.")] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of all randomness.")] = 0,
    device: Annotated[
        str | None,
        typer.Option(
            help="cpu, cuda, ... Several share a clip: cuda:0,cuda:1 or cpu,cpu.", show_default="a GPU if there is one"
        ),
    ] = None,
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
    codec: Codec = None,
    quality: Quality = "visually-lossless",
    frame_rate: FrameRate = None,
    max_pixels: Annotated[
        int | None,
        typer.Option(
            help="Refuse clips and masks with more in a frame, before or after restoring.", show_default="134217728"
        ),
    ] = None,
    max_frames: Annotated[int | None, typer.Option(help="Refuse clips of more frames.", show_default="5000000")] = None,
    overwrite: Overwrite = False,
) -> dict[str, Any]:
    """How one clip or many are to be restored, as keywords of `restore_video`."""
    from warped_diffusion.models import PretrainedOptions
    from warped_diffusion.options import Options
    from warped_diffusion.video import Limits

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
        preset=preset,
        guided=guided,
        flow=flow,
        lanes=lane_count(lanes),
        seed=seed,
        device=device,
        fresh=fresh,
        dilate=dilate,
        feather=feather,
        cuts=cut_list(cuts),
        consistency=consistency,
        tile=tile_side(tile),
        decoded_guidance=decoded_guidance,
        pretrained=PretrainedOptions(prompt, negative_prompt, cfg, dtype, offload, allow_pickle, lora),
    )
    return {
        "options": options,
        "bounds": frame_range(frames),
        "overwrite": overwrite,
        "mask": mask,
        "mask_box": four_numbers(mask_box, "--mask-box"),
        "track_mask": track_mask,
        "pad": four_numbers(pad, "--pad"),
        "codec": codec,
        "quality": quality_value(quality),
        "frame_rate": rate_value(frame_rate),
        "limits": Limits.of(max_pixels, max_frames),
    }


@app.command()
@sharing(asked)
def restore(
    asked: dict[str, Any],
    input: Annotated[Path, typer.Argument(help="The degraded clip: a video, or a folder or pattern of pictures.")],
    output: Annotated[
        Path, typer.Argument(help="The restored clip: a video, a folder, or pictures such as f-%04d.png.")
    ],
    compare: Annotated[
        Path | None, typer.Option(help="Also write input | each frame alone | restored, side by side.")
    ] = None,
) -> None:
    """Restore a degraded clip."""
    from warped_diffusion.restore_video import restore_video

    with bar("restoring") as (begin, advance):
        result = restore_video(input, output, compare=compare, begin=begin, progress=advance, **asked)
    if result.warning:
        talk.print(f"warning: {result.warning}", highlight=False, soft_wrap=True)
    if result.resumed:
        talk.print(f"gone on with after {result.resumed} frames that were finished before", highlight=False)
    talk.print(f"{result.frames} frames in {result.seconds:.1f} s, {result.seconds / result.frames:.2f} s a frame")
    print(output)


@app.command()
@sharing(asked)
def restore_many(
    asked: dict[str, Any],
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUTS... OUT_FOLDER",
            help="Clips, or folders of clips, and where the restored go: paths, or URLs such as s3://...",
        ),
    ],
    jobs: Annotated[
        int | None,
        typer.Option(help="Clips that are restored at the same time, on each machine.", show_default="1, or one a GPU"),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="local|auto|ray://HOST:PORT", help="Restore on a Ray cluster: workers of this machine, or of many."
        ),
    ] = None,
    divide: Annotated[
        bool | None,
        typer.Option(
            "--divide/--no-divide",
            help="On a cluster, restore the shots of one clip at the same time.",
            show_default="where there are fewer clips than can be restored at once",
        ),
    ] = None,
) -> None:
    """Restore many clips; what fails is told at the end, and run again, the command does only what is left."""
    from warped_diffusion.batch import clips_of, exit_code, restore_many, summary
    from warped_diffusion.cluster import Cluster
    from warped_diffusion.processes import Processes
    from warped_diffusion.storage import place

    if len(files) < 2:
        raise UserError("restore-many takes clips or folders of clips, and then the folder for the restored ones")
    *inputs, folder = map(place, files)
    clips = clips_of(inputs, folder)
    if divide is not None and cluster is None:
        raise UserError("clips are divided on a cluster alone: give --cluster local, or leave --divide out")
    runner = Processes(jobs or 1) if cluster is None else Cluster(cluster, jobs, divide)
    with bar("restoring") as (begin, advance):
        begin(len(clips))
        outcomes = []
        for outcome in restore_many(clips, folder, asked, runner):
            if outcome.is_final:
                outcomes.append(outcome)
                advance(1)
            talk.print(outcome.sentence, highlight=False, soft_wrap=True)
    print(summary(outcomes))
    raise typer.Exit(exit_code(outcomes))


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

    box = four_numbers(mask_box, "--mask-box")
    warning = degrade_video(input, output, task, scale, frame_range(frames), overwrite, mask, box, blur)
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

    with bar("restoring the sample") as (begin, advance):
        report = run_demo(task, scale, steps, out, begin, advance)
    print(report.markdown())
