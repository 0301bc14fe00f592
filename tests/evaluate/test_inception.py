import hashlib
import importlib
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from warped_diffusion.errors import UserError
from warped_diffusion.evaluate import MEASURES, Context, SetMeasure, inception, libraries
from warped_diffusion.flow import Motion

SIZE = (8, 8)
ROUNDING = 1e-9
FIDELITY = "torch_fidelity.feature_extractor_inceptionv3"


class Colours(torch.nn.Module):
    """A frame's mean colour for its features, and for its logits the row of a table that its level of red names."""

    def __init__(self, logits: Tensor | None = None) -> None:
        super().__init__()
        self.logits = torch.zeros(256, 1) if logits is None else logits

    def forward(self, levels: Tensor) -> tuple[Tensor, Tensor]:
        assert levels.dtype == torch.uint8
        return levels.double().mean((2, 3)), self.logits[levels[:, 0, 0, 0].long()]


def flat(colours: Tensor) -> Tensor:
    """Levels of 255, (N, 3) -> frames of one colour each, in [0, 1]."""
    return (colours / 255)[:, :, None, None].expand(-1, -1, *SIZE)


def supplied(monkeypatch: pytest.MonkeyPatch, network: torch.nn.Module) -> None:
    monkeypatch.setattr(inception, "load_inception", lambda: network)


def measured(name: str, clips: list[tuple[Tensor, Tensor]]) -> float:
    """A measure of pairs of restored frames and true ones, clip by clip."""
    measure = MEASURES[name]
    assert isinstance(measure, SetMeasure)
    still = Motion.analytic(len(clips[0][1]), SIZE)
    features = [measure.features(restored, Context(truth, truth, still, "known")) for restored, truth in clips]
    return measure.combine(features)


CORNERS = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=3)))
"""Eight values of three features, uncorrelated, each of mean 0 and variance 8/7."""


def test_fid_of_known_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    supplied(monkeypatch, Colours())
    truth = flat(100 + CORNERS * torch.tensor([4.0, 8.0, 20.0]))
    restored = flat(torch.tensor([103.0, 100.0, 88.0]) + CORNERS * torch.tensor([4.0, 2.0, 30.0]))
    restored = restored - 0.4 / 255  # the nearest level counts
    expected = (3**2 + 0 + 12**2) + 8 / 7 * ((4 - 4) ** 2 + (8 - 2) ** 2 + (20 - 30) ** 2)
    halves = [(restored[:4], truth[:4]), (restored[4:], truth[4:])]
    assert measured("fid", [(restored, truth)]) == pytest.approx(expected, rel=ROUNDING)
    assert measured("fid", halves) == pytest.approx(expected, rel=ROUNDING)


def test_fid_of_correlated_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turned by 45°, the variances a² and b² along the axes are those of the diagonals: ΣΣ' does not commute.

    tr (ΣΣ')^½ of two matrices is √(tr ΣΣ' + 2 √(det Σ det Σ')).
    """
    supplied(monkeypatch, Colours())
    x, y, _ = CORNERS.T
    truth = 100 + torch.stack([4 * x, 12 * y, 0 * x], dim=1)
    restored = 100 + torch.stack([5 * x + 3 * y, 5 * x - 3 * y, 0 * x], dim=1)
    variance = 8 / 7
    of_truth, of_restored = variance * np.diag([16, 144]), variance * np.array([[34, 16], [16, 34]])
    determinants = np.linalg.det(of_truth) * np.linalg.det(of_restored)
    root = math.sqrt(np.trace(of_truth @ of_restored) + 2 * math.sqrt(determinants))
    expected = np.trace(of_truth) + np.trace(of_restored) - 2 * root
    assert measured("fid", [(flat(restored), flat(truth))]) == pytest.approx(expected, rel=ROUNDING)


def test_fid_of_a_clip_with_itself_is_zero_and_of_one_frame_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    supplied(monkeypatch, Colours())
    truth = flat(100 + 10 * CORNERS)
    assert measured("fid", [(truth.clone(), truth)]) == pytest.approx(0, abs=1e-6)  # of variances of 100
    assert math.isnan(measured("fid", [(truth[:1].clone(), truth[:1])]))


def test_inception_score_of_given_probabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two frames, sure of different classes to the degree q: exp KL((q, 1−q) ‖ (½, ½)) = 2 q^q (1−q)^(1−q)."""
    q = 0.8
    supplied(monkeypatch, Colours(torch.tensor([[q, 1 - q], [1 - q, q]]).double().log()))
    frames = flat(torch.tensor([[0.0, 0, 0], [1, 0, 0]]))
    expected = 2 * q**q * (1 - q) ** (1 - q)
    assert measured("inception-score", [(frames, frames)]) == pytest.approx(expected, rel=ROUNDING)


def test_inception_score_is_the_number_of_classes_all_clips_show(monkeypatch: pytest.MonkeyPatch) -> None:
    supplied(monkeypatch, Colours(40 * torch.eye(5)))
    frames = flat(torch.arange(5.0)[:, None].expand(-1, 3))
    clips = [(frames[:2], frames[:2]), (frames[2:], frames[2:])]
    assert measured("inception-score", clips) == pytest.approx(5, rel=ROUNDING)
    assert measured("inception-score", clips[:1]) == pytest.approx(2, rel=ROUNDING)


def test_measuring_leaves_the_callers_random_numbers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    supplied(monkeypatch, Colours(torch.eye(5)))
    frames = flat(torch.arange(5.0)[:, None].expand(-1, 3))
    before = torch.random.get_rng_state()
    measured("inception-score", [(frames, frames)])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_two_measures_run_the_network_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting(Colours):
        calls = 0

        def forward(self, levels: Tensor) -> tuple[Tensor, Tensor]:
            self.calls += len(levels)
            return super().forward(levels)

    supplied(monkeypatch, network := Counting())
    truth = flat(100 + 10 * CORNERS)
    restored = flat(90 + 10 * CORNERS)
    for name in ("fid", "inception-score"):
        measured(name, [(restored, truth)])
    assert network.calls == 2 * len(CORNERS)


def test_missing_weights_are_named_with_their_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    lack = MEASURES["fid"].missing(None)
    assert lack is not None
    assert MEASURES["inception-score"].missing(None) == lack
    place = tmp_path / "hub" / "checkpoints" / "weights-inception-2015-12-05-6726825d.pth"
    for part in (str(place), inception.WEIGHTS, "TORCH_HOME"):
        assert part in lack
    assert ("pip install" in lack) == (not importable(FIDELITY))
    with pytest.raises(UserError, match="the Inception network needs"):
        measured("fid", [(flat(CORNERS), flat(CORNERS))])


def test_weights_that_are_not_what_their_name_says_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """They may be pickles: what they are is known before anything reads them."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    place = tmp_path / "hub" / "checkpoints"
    place.mkdir(parents=True)
    digest = hashlib.sha256(b"weights").hexdigest()[:8]
    (place / f"net-{digest}.pth").write_bytes(b"weights")
    (place / f"other-{digest}.pth").write_bytes(b"something else")
    modules, path = libraries.load_with_weights(["math"], f"https://nowhere/net-{digest}.pth", "it")
    assert modules == [math]
    assert path == place / f"net-{digest}.pth"
    with pytest.raises(UserError, match="not what their name says: put https://nowhere/other"):
        libraries.load_with_weights(["math"], f"https://nowhere/other-{digest}.pth", "it")


def importable(module: str) -> bool:
    try:
        importlib.import_module(module)
    except (ImportError, RuntimeError):
        return False
    return True


@pytest.mark.skipif(not importable(FIDELITY), reason="needs torch-fidelity and torchvision: make test-metrics")
def test_torch_fidelitys_network_fits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its own layers and the address of its weights, with values drawn instead of read."""
    library = importlib.import_module(FIDELITY)
    assert library.URL_INCEPTION_V3 == inception.WEIGHTS
    torch.manual_seed(0)
    torch.save({}, drawn := tmp_path / "drawn.pth")
    monkeypatch.setattr(library.FeatureExtractorInceptionV3, "load_state_dict", lambda self, values: None)
    monkeypatch.setattr(libraries, "_lacking_weights", lambda path, url: [])
    monkeypatch.setattr(libraries, "weights_path", lambda url: drawn)
    inception.load_inception.cache_clear()
    try:
        frames = torch.rand(3, 3, 40, 56, generator=torch.Generator().manual_seed(1))
        still = Motion.analytic(3, (40, 56))
        of = Context(frames, frames, still, "known")
        fid, score = MEASURES["fid"], MEASURES["inception-score"]
        assert isinstance(fid, SetMeasure)
        assert isinstance(score, SetMeasure)
        features = fid.features(frames.clone(), of)
        assert features["restored"].shape == features["truth"].shape == (3, 2048)
        assert fid.combine([features]) == pytest.approx(0, abs=1e-4)
        assert score.features(frames, of)["logits"].shape == (3, 1008)
    finally:
        inception.load_inception.cache_clear()
