"""A checkpoint in diffusers' format, from a folder or the model hub, as diffusers' own pipeline on its device."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError

from warped_diffusion.errors import UserError
from warped_diffusion.models.pretrained.hub import revision
from warped_diffusion.models.pretrained.options import PretrainedOptions, choose_dtype

FAMILIES = {
    "StableDiffusionPipeline": "unet",
    "StableDiffusionInpaintPipeline": "unet",
    "StableDiffusionXLPipeline": "unet",
    "StableDiffusionXLInpaintPipeline": "unet",
    "StableDiffusionUpscalePipeline": "unet",
    "StableDiffusion3Pipeline": "transformer",
}
"""The component that denoises, by the pipeline's class in `model_index.json`."""

UNUSED = ("safety_checker", "feature_extractor", "image_encoder", "watermarker")
"""Components that restoring frames has no use for."""

TROUBLE = (
    *(OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, ImportError),
    *(SafetensorError, UnpicklingError),
)
"""What the libraries raise for files that they cannot make sense of."""

HALF = ".fp16"
"""What the names of weights of half precision say before their last part."""

WAY_OUT = "give a folder in diffusers' format, or a hub name such as stabilityai/stable-diffusion-xl-base-1.0"


def open_checkpoint(source: str | Path, device: torch.device, options: PretrainedOptions) -> tuple[Any, Any]:
    """The pipeline of a folder or a hub name, low-rank weights added, and the module of it that denoises.

    It evaluates, and its weights ask for no gradients.
    Raises: UserError if diffusers is missing, there is no such checkpoint, parts of it are missing, cannot be read or
        are pickles, or its family is unknown here.
    """
    _require()
    index = _index(source)
    name = _family(source, index)
    pipe = _assemble(_folder(source, index, options), index, device, options)
    return pipe, getattr(pipe, FAMILIES[name])


def trained_for(source: str | Path) -> tuple[str | None, int | None]:
    """The task and the factor that a checkpoint's denoiser was fine-tuned for, as its config says; None if it does not.

    Raises: UserError as `open_checkpoint` for what is not there; nothing but two small files is read.
    """
    _require()
    part = FAMILIES[_family(source, _index(source))]
    config = _read(source, f"{part}/config.json")
    return config.get("restoration_task"), config.get("restoration_scale")


def _require() -> None:
    try:
        import diffusers  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        install = 'pip install "warped-diffusion[diffusers]"'
        raise UserError(f"pretrained models need diffusers and transformers ({error}): {install}") from error


def _index(source: str | Path) -> dict[str, Any]:
    """`model_index.json`, which says what a checkpoint is made of."""
    return _read(source, "model_index.json")


def _read(source: str | Path, name: str) -> dict[str, Any]:
    """One of a checkpoint's JSON files; that of a hub name is fetched."""
    if not Path(source).is_dir():
        from huggingface_hub import hf_hub_download

        try:
            file = hf_hub_download(str(source), name, revision=revision(str(source)))
        except (OSError, ValueError) as error:
            raise UserError(
                f"there is no folder {str(source)!r}, and the model hub does not give a model of that name here "
                f"({type(error).__name__}): check the name and the network, or give a folder in diffusers' format"
            ) from error
    else:
        file = str(Path(source) / name)
    try:
        return json.loads(Path(file).read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{str(source)!r} holds no readable {name}: {WAY_OUT}") from error


def _family(source: str | Path, index: Mapping[str, Any]) -> str:
    """The class of the pipeline, one in `FAMILIES`."""
    name = index.get("_class_name")
    if not isinstance(name, str) or name not in FAMILIES:
        raise UserError(f"{source} is a {name}, which is not known here: known are {', '.join(FAMILIES)}")
    for part in ("vae", "text_encoder", FAMILIES[name]):
        if not (index.get(part) or [None])[0]:
            raise UserError(
                f"{source} has no {part}: give a whole checkpoint, with all that its model_index.json names"
            )
    return name


def _folder(source: str | Path, index: Mapping[str, Any], options: PretrainedOptions) -> Path:
    """Where the checkpoint is; that of a hub name is fetched, once."""
    if Path(source).is_dir():
        return Path(source)
    from diffusers import DiffusionPipeline

    try:
        given = {"use_safetensors": _safe(options), "revision": revision(str(source))} | _left_out(index)
        return Path(DiffusionPipeline.download(source, **given))
    except TROUBLE as error:
        raise _cannot_load(source, error, options) from error


def _safe(options: PretrainedOptions) -> bool | None:
    """What the library is told of formats: safetensors only, or as well."""
    return None if options.allow_pickle else True


def _left_out(index: Mapping[str, Any]) -> dict[str, Any]:
    """Components that are not loaded, as the library wants to be told of them."""
    given: dict[str, Any] = {name: None for name in UNUSED if name in index}
    if "safety_checker" in given and index["_class_name"] != "StableDiffusionUpscalePipeline":
        given["requires_safety_checker"] = False
    if FAMILIES[index["_class_name"]] == "transformer":
        # the largest text encoder is one that checkpoints may come without
        given |= {name: None for name in ("text_encoder_3", "tokenizer_3") if not (index.get(name) or [None])[0]}
    return given


def _variant(folder: Path, parts: Iterable[str]) -> str | None:
    """ "fp16" where a component has safetensors of that variant alone, else None, for the plain ones."""
    for part in set(parts) - set(UNUSED):
        names = [path.name for path in (folder / part).glob("*.safetensors")]
        if names and all(HALF in name for name in names):
            return HALF.strip(".")
    return None


def _assemble(folder: Path, index: Mapping[str, Any], device: torch.device, options: PretrainedOptions) -> Any:
    """The pipeline on its device, evaluating, without gradients of its own."""
    from diffusers import AutoencoderKL, DiffusionPipeline

    dtype, safe = choose_dtype(options.dtype, device), _safe(options)
    try:
        with quiet():
            whole = AutoencoderKL.load_config(folder, subfolder="vae").get("force_upcast", True)
            # An autoencoder that says nothing else overflows in half precision, and bf16 rounds its pictures visibly.
            precision = torch.float32 if whole else dtype
            given = {"dtype": precision, "use_safetensors": safe, "variant": _variant(folder, ["vae"])}
            vae = AutoencoderKL.from_pretrained(folder, subfolder="vae", **given)
            given = {"dtype": dtype, "use_safetensors": safe, "variant": _variant(folder, index)}
            given |= _left_out(index) | {"vae": vae}
            pipe = DiffusionPipeline.from_pretrained(folder, **given)
    except TROUBLE as error:
        raise _cannot_load(folder, error, options) from error
    if options.lora is not None:
        _add_lora(pipe, options)
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval().requires_grad_(False)
    return _place(pipe, device, options.offload)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the libraries' progress bars and warnings, which speak to those who program with them."""
    from diffusers.utils import logging as first
    from transformers.utils import logging as second

    before = [(log, log.get_verbosity(), log.is_progress_bar_enabled()) for log in (first, second)]
    for log, _, _ in before:
        log.set_verbosity_error()
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log, verbosity, bar in before:
            log.set_verbosity(verbosity)
            if bar:
                log.enable_progress_bar()


def _cannot_load(source: str | Path, error: Exception, options: PretrainedOptions) -> UserError:
    if not options.allow_pickle and _only_pickles(source, error):
        return UserError(
            f"{source} holds weights as pickles, which can run any code when read: convert them to safetensors, or "
            "give --allow-pickle if you trust whoever made them"
        )
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return UserError(f"{source} cannot be loaded: {first}")


def _only_pickles(source: str | Path, error: Exception) -> bool:
    """Whether a component of the folder has weights, but none as safetensors; of a hub name, what the library says."""
    if not Path(source).is_dir():
        return "safetensors" in str(error)
    folders = [folder for folder in Path(source).iterdir() if folder.is_dir()]
    return any(list(folder.glob("*.bin")) and not list(folder.glob("*.safetensors")) for folder in folders)


def _add_lora(pipe: Any, options: PretrainedOptions) -> None:
    """Low-rank weights added into the network's own, so that they cost nothing while sampling."""
    lora = options.lora
    path = Path(str(lora))
    where: dict[str, Any] = {"weight_name": path.name} if path.is_file() else {}
    try:
        where["use_safetensors"] = _safe(options)
        with quiet():
            pipe.load_lora_weights(str(path.parent if path.is_file() else lora), **where)
            pipe.fuse_lora()
            pipe.unload_lora_weights()
    except TROUBLE as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"the low-rank weights {str(lora)!r} cannot be added: {first}; give a .safetensors file made for this model"
        ) from error


def _place(pipe: Any, device: torch.device, offload: str) -> Any:
    if offload == "none":
        return pipe.to(device)
    if device.type == "cpu":
        raise UserError(f"offload {offload!r} moves the network between main memory and a GPU: on a CPU leave it out")
    if offload == "model":
        pipe.enable_model_cpu_offload(device=device)
    else:
        pipe.enable_sequential_cpu_offload(device=device)
    return pipe
