import importlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.models.pretrained.checkpoints import LETTERS, TOKENS, WIDTH, tokenizer
from warped_diffusion.errors import UserError
from warped_diffusion.evaluate import MEASURES, Context, FrameMeasure, libraries, perceptual
from warped_diffusion.flow import Motion

SIZE = (40, 56)
SINGLE = 1e-5
"""Networks work in single precision."""

SEED = 1
"""Of a drawn CLIP to which the captions below look like the frames, a little: their cosines are positive."""

transformers = pytest.importorskip("transformers")


def clip_of(frames: int, seed: int) -> Tensor:
    return torch.rand(frames, 3, *SIZE, generator=torch.Generator().manual_seed(seed))


def measured(name: str, restored: Tensor, truth: Tensor, caption: str = "") -> Tensor:
    measure = MEASURES[name]
    assert isinstance(measure, FrameMeasure)
    still = Motion.analytic(len(truth), SIZE)
    found = measure.values(restored, Context(truth, truth, still, "known", caption))
    assert found.shape == (len(restored),)
    assert found.dtype == torch.float64
    return found


class Distance(torch.nn.Module):
    """Stands for torchmetrics' metric: it takes batches of one, and remembers what it was not told to forget."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0.0

    def reset(self) -> None:
        self.seen = 0.0

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        assert len(one) == len(other) == 1
        self.seen += float((one - other).abs().mean())
        return torch.tensor([self.seen])


def test_lpips_is_taken_frame_by_frame_of_a_supplied_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceptual, "load_lpips", Distance)
    restored, truth = clip_of(3, 0), clip_of(3, 1)
    expected = (restored - truth).abs().mean((1, 2, 3))
    np.testing.assert_allclose(measured("lpips", restored, truth), expected, rtol=SINGLE)


def importable(module: str) -> bool:
    try:
        importlib.import_module(module)
    except (ImportError, RuntimeError):
        return False
    return True


needs_torchvision = pytest.mark.skipif(not importable("torchvision"), reason="needs torchvision: make test-metrics")


@needs_torchvision
def test_lpips_is_its_authors_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn AlexNet, shipped heads: Σ over layers of the mean over places of w·(a/|a| − b/|b|)²."""
    torchvision, library = (importlib.import_module(name) for name in ("torchvision", "torchmetrics.image.lpip"))
    assert torchvision.models.AlexNet_Weights.DEFAULT.url == perceptual.ALEXNET
    torch.manual_seed(0)
    network = torchvision.models.alexnet(weights=None)
    monkeypatch.setattr(torchvision.models, "alexnet", lambda weights: network)
    monkeypatch.setattr(libraries, "_lacking_weights", lambda path, url: [])
    perceptual.load_lpips.cache_clear()
    try:
        restored, truth = (torch.nn.functional.interpolate(clip_of(2, seed), scale_factor=2) for seed in (0, 1))
        still = Motion.analytic(2, (restored.shape[-2], restored.shape[-1]))
        measure = MEASURES["lpips"]
        assert isinstance(measure, FrameMeasure)
        found = measure.values(restored, Context(truth, truth, still, "known"))
        heads = Path(library.__file__).parents[1] / "functional" / "image" / "lpips_models" / "alex.pth"
        weights = torch.load(heads, map_location="cpu", weights_only=True)
        expected = authors_formula(network.features, list(weights.values()), restored, truth)
        np.testing.assert_allclose(found, expected, rtol=1e-4)
        assert measure.values(truth, Context(truth, truth, still, "known")).abs().max() < SINGLE
    finally:
        perceptual.load_lpips.cache_clear()


def authors_formula(layers: torch.nn.Sequential, heads: list[Tensor], one: Tensor, other: Tensor) -> Tensor:
    shift, scale = torch.tensor([[-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]])[:, None, :, None, None]
    a, b = (((2 * x - 1) - shift) / scale for x in (one, other))
    total, taken = torch.zeros(len(one)), iter(heads)
    with torch.no_grad():
        for layer in layers:
            a, b = layer(a), layer(b)
            if isinstance(layer, torch.nn.ReLU):
                unit = [x / (1e-8 + x.square().sum(1, keepdim=True)).sqrt() for x in (a, b)]
                total += ((unit[0] - unit[1]).square() * next(taken)).sum(1).mean((1, 2))
    return total


@pytest.fixture
def tiny_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with CLIP of two thin layers for each of text and pictures, which the measures find in its place."""
    end = 2 * len(LETTERS) + 1
    small = {"hidden_size": WIDTH, "intermediate_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2}
    words = {"vocab_size": end + 1, "max_position_embeddings": TOKENS, "bos_token_id": end - 1, "eos_token_id": end}
    config = transformers.CLIPConfig(
        text_config={**small, **words, "pad_token_id": end},
        vision_config={**small, "image_size": 32, "patch_size": 8},
        projection_dim=WIDTH,
    )
    side = {"height": 32, "width": 32}
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        transformers.CLIPModel(config).save_pretrained(tmp_path)
    images = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=side)
    transformers.CLIPProcessor(images, tokenizer()).save_pretrained(tmp_path)
    monkeypatch.setattr(perceptual, "CLIP", str(tmp_path))
    perceptual.load_clip.cache_clear()
    yield tmp_path
    perceptual.load_clip.cache_clear()


def embeddings(folder: Path, frames: Tensor, caption: str) -> tuple[Tensor, Tensor]:
    """Normalised, of pictures and of the caption, by CLIP's own forward pass."""
    model = transformers.CLIPModel.from_pretrained(folder).eval()
    processor = transformers.CLIPProcessor.from_pretrained(folder)
    levels = list((frames * 255).round().byte())
    with torch.no_grad():
        found = model(**processor(text=[caption], images=levels, return_tensors="pt", truncation=True))
    return found.image_embeds, found.text_embeds


@pytest.mark.parametrize("caption", ["a red fox", "a fox that is red and runs over the lazy dog and on"])
def test_clip_text_is_the_cosine_to_the_caption(tiny_clip: Path, caption: str) -> None:
    """The second caption is longer than the network reads."""
    frames = clip_of(3, 0)
    pictures, text = embeddings(tiny_clip, frames, caption)
    expected = pictures @ text[0]
    assert expected.min() > 0  # negative ones count as 0
    np.testing.assert_allclose(measured("clip-text", frames, clip_of(3, 1), caption), expected, atol=SINGLE)


def test_clip_image_is_the_cosine_to_the_true_frame(tiny_clip: Path) -> None:
    restored, truth = clip_of(3, 0) ** 4, clip_of(3, 1)
    of_restored, of_truth = (embeddings(tiny_clip, frames, "a")[0] for frames in (restored, truth))
    expected = (of_restored * of_truth).sum(-1)
    assert 0 < expected.min() <= expected.max() < 0.999  # else nothing was tested
    np.testing.assert_allclose(measured("clip-image", restored, truth), expected, atol=SINGLE)
    np.testing.assert_allclose(measured("clip-image", truth, truth), 1, atol=SINGLE)


def test_captions_that_differ_score_differently(tiny_clip: Path) -> None:
    frames = clip_of(1, 0)
    found = [float(measured("clip-text", frames, frames, caption)) for caption in ("a red fox", "a dog")]
    assert abs(found[0] - found[1]) > 1e-4


def test_missing_clip_is_named_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(perceptual, "CLIP", "nobody/has-this-clip")
    perceptual.load_clip.cache_clear()
    lack = MEASURES["clip-image"].missing(None)
    assert lack is not None
    assert MEASURES["clip-text"].missing(None) == lack
    for part in ("hf download nobody/has-this-clip", "HF_HOME", "model.safetensors"):
        assert part in lack
    with pytest.raises(UserError, match="the CLIP score needs nobody/has-this-clip"):
        measured("clip-image", clip_of(1, 0), clip_of(1, 0))


def test_pickled_clip_is_not_read(tiny_clip: Path) -> None:
    weights = transformers.CLIPModel.from_pretrained(tiny_clip).state_dict()
    (tiny_clip / "model.safetensors").unlink()
    torch.save(weights, tiny_clip / "pytorch_model.bin")
    lack = MEASURES["clip-image"].missing(None)
    assert lack is not None
    assert "model.safetensors" in lack


def test_missing_lpips_names_the_library_and_the_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    perceptual.load_lpips.cache_clear()
    lack = MEASURES["lpips"].missing(None)
    assert lack is not None
    place = tmp_path / "hub" / "checkpoints" / "alexnet-owt-7be5be79.pth"
    for part in (str(place), perceptual.ALEXNET, "TORCH_HOME"):
        assert part in lack
    assert ('pip install "warped-diffusion[metrics]"' in lack) == (not importable("torchvision"))
    with pytest.raises(UserError, match="LPIPS needs"):
        measured("lpips", clip_of(1, 0), clip_of(1, 0))
