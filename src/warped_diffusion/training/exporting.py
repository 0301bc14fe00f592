"""A fine-tuned pipeline as a folder in diffusers' format, with a model card: what `restore --model` takes."""

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from warped_diffusion.models.pretrained.checkpoint import open_checkpoint, quiet
from warped_diffusion.models.pretrained.options import PretrainedOptions
from warped_diffusion.training.config import TrainConfig
from warped_diffusion.training.finetuning import scale_of, shape


def export_pipeline(
    config: TrainConfig, averaged: Mapping[str, Tensor], folder: Path, about: Mapping[str, object]
) -> Path:
    """The checkpoint opened anew in float32 in main memory, with what was trained, and written as safetensors.

    The folder is written beside and moved into place. The network's config says the task, its factor, the noise and
    what is predicted; everything else is as it was.

    Args:
        averaged: the trained parameters by their names in `Predictor`.
        about: see `Learner.export`.
    """
    pipe, unet = open_checkpoint(config.model, torch.device("cpu"), PretrainedOptions(dtype="fp32"))
    source = Path(pipe.name_or_path)
    shape(unet, config)
    trained = {name.removeprefix("unet."): value.detach().float().cpu() for name, value in averaged.items()}
    missing = {name for name, parameter in unet.named_parameters() if parameter.requires_grad} - trained.keys()
    if missing:
        raise ValueError(f"an export without the trained parameters {', '.join(sorted(missing))}")
    unet.load_state_dict(trained, strict=False)
    if config.lora_rank:
        unet.fuse_lora()
        unet.unload_lora()
    unet.register_to_config(**facts(config, pipe))
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    with quiet():
        pipe.save_pretrained(part, safe_serialization=True)
    _forget_folders(part, base_name(config))
    (part / "README.md").write_text(model_card(config, facts(config, pipe), about, licence(config.model, source)))
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    return folder


def facts(config: TrainConfig, pipe: Any) -> dict[str, object]:
    """What the network's config says of its fine-tuning."""
    scale = scale_of(config)
    said: dict[str, object] = {
        "restoration_task": config.task,
        "noise_spectrum": config.spectra[0],
        "parameterisation": pipe.scheduler.config.get("prediction_type", "epsilon"),
    }
    return said if scale is None else said | {"restoration_scale": scale}


def base_name(config: TrainConfig) -> str:
    """The base model's name; of a folder the last part, since the rest of a path is nobody's business."""
    return Path(config.model).resolve().name if Path(config.model).is_dir() else config.model


def without_folders(text: str, source: str) -> str:
    """A description of the pictures in which their folder has no path."""
    path = Path(source.removeprefix("hf:"))
    return text.replace(f"{path.parent}/", "") if path.is_absolute() or path.exists() else text


def licence(model: str, folder: Path) -> str | None:
    """The licence that the model's own card names, in the folder or on the hub; None if there is none to be had."""
    card = folder / "README.md"
    if not card.is_file() and not Path(model).is_dir():
        from huggingface_hub import hf_hub_download

        with suppress(OSError):  # no network, or no card: it is a courtesy
            card = Path(hf_hub_download(model, "README.md"))
    _, _, rest = card.read_text().partition("---\n") if card.is_file() else ("", "", "")
    lines = rest.partition("\n---")[0].splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("license:")), None)


def model_card(config: TrainConfig, said: Mapping[str, object], about: Mapping[str, object], terms: str | None) -> str:
    """The card's text: what was fine-tuned from what, on what, how, and how it is used."""
    from huggingface_hub import ModelCardData

    base, hub = base_name(config), not Path(config.model).is_dir()
    head = ModelCardData(
        license=terms,
        base_model=base if hub else None,
        library_name="diffusers",
        tags=[config.task],
    )
    scale = said.get("restoration_scale")
    what = config.task if scale is None else f"{config.task} ×{scale}"
    way = f"low-rank weights of rank {config.lora_rank} on attention, added in, and the first layer in full"
    usage = ["warped-diffusion restore IN OUT", "--task", config.task, "--model FOLDER"]
    usage += ["--mask MASK"] if config.task == "inpainting" else [] if scale is None else [f"--scale {scale}"]
    rows = {
        "Base model": base,
        "Task": what,
        "Noise": f"`{said['noise_spectrum']}`",
        "Parameterisation": f"`{said['parameterisation']}`, the base model's",
        "Trained": way if config.lora_rank else "the whole UNet; text encoders and autoencoder as they were",
        "Steps": f"{about.get('steps', 'not stated')} of {config.batch} pictures of {config.crop}×{config.crop} pixels",
        "Optimiser": f"AdamW, rate {config.rate:g}, betas {config.betas[0]:g} and {config.betas[1]:g}, weight decay "
        f"{config.weight_decay:g}, gradient clipped at {config.clip:g}; weights averaged, decay {config.ema:g}",
        "Loss": f"min-SNR weights, gamma {config.min_snr:g}" if config.min_snr else "mean squared error, no weights",
        "Data": without_folders(str(about.get("pictures", "not stated")), config.pictures),
        "Licence": terms or "the base model's, which its files do not name",
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return (
        f"---\n{head.to_yaml()}\n---\n# {base}, fine-tuned for {what}\n\n| | |\n|---|---|\n{table}\n\n"
        f"```sh\n{' '.join(usage)}\n```\n\nNothing was measured of its quality here.\n"
    )


def _forget_folders(folder: Path, name: str) -> None:
    """The libraries write down where a model was loaded from: here it is the base model's name instead."""
    for path in folder.rglob("*.json"):
        said = json.loads(path.read_text())
        for key in {"_name_or_path", "name_or_path"} & (said.keys() if isinstance(said, dict) else set()):
            said[key] = name
            path.write_text(json.dumps(said, indent=2) + "\n")
