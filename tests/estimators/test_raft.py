"""RAFT: what the network is given and what becomes of its flow, by stubs; torchvision's own, on random weights."""

import http.client
import os
import sys
import types
import urllib.error

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from warped_diffusion.errors import UserError
from warped_diffusion.estimators import ESTIMATORS, estimate_pair, get_estimator, registry
from warped_diffusion.estimators import raft as raft_module
from warped_diffusion.estimators.raft import estimate_raft, load_network, raft_flow, weights_path
from warped_diffusion.flow import displacement

SWAP = 1e-4
"""Pixels: the two items of a batch change places, and a kernel may round them differently."""

URL = "https://example.invalid/models/{}_stub-22a6c225.pth"


def pair(height: int, width: int, seed: int = 0) -> Tensor:
    """Two frames, (2, 3, height, width) in [0, 1], that use the whole range."""
    frames = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(seed))
    return (frames - frames.min()) / (frames.max() - frames.min())


class Watcher:
    """A network that remembers its input and says of each pixel where in its padded picture it lies."""

    def __call__(self, start: Tensor, end: Tensor) -> list[Tensor]:
        self.start, self.end = start, end
        rows, columns = (torch.arange(side).float() for side in start.shape[-2:])
        places = torch.stack(torch.meshgrid(columns, rows, indexing="xy"))
        return [torch.full_like(places, torch.nan), torch.stack([places, -places])]


@pytest.mark.parametrize("size", [(128, 128), (136, 200), (129, 143), (90, 300), (1, 1)])
def test_what_the_network_is_given(size):
    watcher, frames = Watcher(), pair(*size)
    forward, _ = raft_flow(watcher, *frames)
    height, width = watcher.start.shape[-2:]
    for side, given in zip(size, (height, width), strict=True):
        assert given % 8 == 0
        assert given == 128 if side <= 128 else side <= given < side + 8
    assert watcher.start.min() == -1
    assert watcher.start.max() == 1
    left, top = (int(margin) for margin in forward[0, 0])
    within = slice(top, top + size[0]), slice(left, left + size[1])
    assert torch.equal(watcher.start[..., *within], 2 * frames - 1)  # the earlier first
    assert torch.equal(watcher.end, watcher.start.flip(0))
    rows = (torch.arange(height) - top).clamp(0, size[0] - 1)
    columns = (torch.arange(width) - left).clamp(0, size[1] - 1)
    assert torch.equal(watcher.start, (2 * frames - 1)[..., rows, :][..., columns])
    assert abs(height - size[0] - 2 * top) <= 1
    assert abs(width - size[1] - 2 * left) <= 1


@pytest.mark.parametrize("size", [(128, 128), (129, 143), (90, 300), (1, 1)])
def test_the_flow_is_the_last_one_cut_to_the_frame_x_before_y(size):
    forward, backward = raft_flow(Watcher(), *pair(130, 150)[..., : size[0], : size[1]])
    # The last of the flows counts: the first is not a number.
    height, width = forward.shape[:2]
    assert torch.equal(backward, -forward)
    steps = forward - forward[0, 0]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    assert torch.equal(steps, torch.stack([x, y], -1).float())
    assert forward.is_contiguous()
    assert forward.dtype == torch.float32


def test_a_known_shift_reaches_the_map(monkeypatch):
    """Through `estimate_pair`: by name, enlarged, and back on the wanted grid, in its pixels."""
    shift = torch.tensor([3.0, -1.5])

    def shifted(start: Tensor, end: Tensor) -> list[Tensor]:
        flow = shift.view(2, 1, 1).expand(2, *start.shape[-2:])
        return [torch.stack([flow, -flow])]

    monkeypatch.setattr(raft_module, "load_network", lambda size, device: shifted)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("raft", "raft-small"):
        forward, backward, *_ = estimate_pair(*pair(32, 40), (128, 160), name)
        assert torch.allclose(displacement(forward), 2 * shift, atol=1e-4)
        assert torch.allclose(displacement(backward), -2 * shift, atol=1e-4)


def test_no_gradient_is_kept():
    layer = nn.Conv2d(3, 2, 1)
    forward, _ = raft_flow(lambda start, end: [layer(start)], *pair(128, 128))
    assert not forward.requires_grad
    assert not forward.is_inference()  # maps take part in what is differentiated later


class Stub(nn.Module):
    """A network of one layer, with a norm that would tell training from evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Conv2d(6, 2, 3, padding=1), nn.BatchNorm2d(2)

    def forward(self, start: Tensor, end: Tensor) -> list[Tensor]:
        return [self.norm(self.layer(torch.cat([start, end], 1)))]


@pytest.fixture
def library(monkeypatch, tmp_path):
    """torchvision's part, of stubs, an empty cache, and no GPU; no test downloads anything."""

    def refuse(url, *args, **kwargs):
        raise urllib.error.URLError("no network")

    module = types.ModuleType("torchvision.models.optical_flow")
    for build, weights in raft_module.SIZES.values():
        setattr(module, build, Stub)
        default = types.SimpleNamespace(url=URL.format(build))
        setattr(module, weights, types.SimpleNamespace(DEFAULT=default))
    monkeypatch.setattr(raft_module, "_torchvision", lambda: module)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setattr(torch.hub, "_hub_dir", None)  # put back at the end
    torch.hub.set_dir(tmp_path)
    load_network.cache_clear()
    yield module
    load_network.cache_clear()


def fill_cache(build: str = "raft_large") -> Stub:
    torch.manual_seed(3)
    network = Stub().eval()
    network.norm.running_mean.fill_(0.3)
    path = weights_path(URL.format(build))
    path.parent.mkdir(parents=True)
    torch.save(network.state_dict(), path)
    return network


@pytest.mark.parametrize(("name", "build"), [("raft", "raft_large"), ("raft-small", "raft_small")])
def test_weights_come_from_the_cache(library, name, build):
    expected = raft_flow(fill_cache(build), *pair(40, 50))
    state = torch.get_rng_state()
    found = ESTIMATORS[name](*pair(40, 50))
    assert torch.equal(torch.get_rng_state(), state)
    for flow, own in zip(found, expected, strict=True):
        assert torch.equal(flow, own)


def test_the_network_is_built_once(library):
    fill_cache()
    network = load_network("large", torch.device("cpu"))
    weights_path(URL.format("raft_large")).unlink()
    assert load_network("large", torch.device("cpu")) is network
    estimate_raft(*pair(8, 8))
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_what_is_fetched_is_kept_and_stdout_stays_clean(library, monkeypatch, capsys):
    network = fill_cache()
    path = weights_path(URL.format("raft_large"))
    fetched = path.read_bytes()
    path.unlink()

    def fetch(url, target, hash_prefix, *args, **kwargs):
        assert url == URL.format("raft_large")
        assert hash_prefix == "22a6c225"
        path.write_bytes(fetched)

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    assert torch.equal(estimate_raft(*pair(40, 50))[0], raft_flow(network, *pair(40, 50))[0])
    told = capsys.readouterr()
    assert told.out == ""
    assert URL.format("raft_large") in told.err
    assert path.is_file()


@pytest.mark.parametrize(
    "failure",
    [
        urllib.error.URLError("Name or service not known"),
        ConnectionResetError("reset"),
        http.client.RemoteDisconnected("gone"),
        RuntimeError('invalid hash value (expected "22a6c225", got "1bb1363a")'),
    ],
)
def test_weights_that_cannot_be_fetched(library, monkeypatch, tmp_path, failure):
    def fail(*args, **kwargs):
        raise failure

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(UserError) as caught:
        estimate_raft(*pair(8, 8), size="small")
    text = str(caught.value)
    assert str(tmp_path / "checkpoints" / "raft_small_stub-22a6c225.pth") in text
    assert URL.format("raft_small") in text
    assert str(failure) in text
    assert text.endswith("or use --flow dis or refined, which need no download")
    assert "\n" not in text


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x03\x04 cut off", "other"])
def test_a_file_that_holds_no_weights(library, content):
    path = weights_path(URL.format("raft_large"))
    path.parent.mkdir()
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(nn.Conv2d(6, 2, 3).state_dict(), path)
    with pytest.raises(
        UserError, match=r"raft_large_stub-22a6c225\.pth does not hold RAFT's weights: delete it .* --flow dis"
    ):
        estimate_raft(*pair(8, 8))


class Executed:
    """Unpickled, it makes a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_a_file_of_weights_cannot_execute_anything(library, tmp_path):
    fill_cache()
    torch.save({"layer.weight": Executed(tmp_path / "made")}, weights_path(URL.format("raft_large")))
    with pytest.raises(UserError, match="does not hold"):
        estimate_raft(*pair(8, 8))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("broken", [None, RuntimeError("operator torchvision::nms does not exist")])
def test_without_torchvision(monkeypatch, broken):
    """`None` in sys.modules is Python's way to say that there is none; a build for another torch fails on import."""
    load_network.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    if broken is None:
        monkeypatch.setitem(sys.modules, "torchvision", None)
    else:

        class Finder:
            @staticmethod
            def find_spec(name, path=None, target=None):
                if name == "torchvision":
                    raise broken

        monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    with pytest.raises(UserError, match=r'torchvision.*pip install "warped-diffusion\[raft\]".*--flow dis'):
        estimate_raft(*pair(8, 8))


def test_auto_is_raft_where_a_gpu_is_and_its_weights_can_be_had(monkeypatch):
    loaded = []

    def load(size, device):
        loaded.append((size, device.type))

    def fail(size, device):
        raise UserError("no network")

    for gpu, loader, name in [(False, load, "refined"), (True, load, "raft"), (True, fail, "refined")]:
        monkeypatch.setattr(torch.cuda, "is_available", lambda gpu=gpu: gpu)
        monkeypatch.setattr(registry, "load_network", loader)
        registry.best_estimator.cache_clear()
        assert get_estimator("auto") is ESTIMATORS[name]
    assert loaded == [("large", "cuda")]
    registry.best_estimator.cache_clear()


@pytest.fixture(scope="module", params=["large", "small"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def network(kind):
    """torchvision's, with random weights."""
    optical_flow = pytest.importorskip("torchvision.models.optical_flow")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return getattr(optical_flow, raft_module.SIZES[kind][0])().eval()


@pytest.mark.parametrize("size", [(128, 136), (130, 141), (20, 30)])
def test_torchvision_takes_frames_of_any_size(network, size):
    frames = pair(*size)
    forward, backward = raft_flow(network, *frames)
    assert forward.shape == backward.shape == (*size, 2)
    assert torch.isfinite(forward).all()
    assert torch.isfinite(backward).all()
    height, width = (max(-(-side // 8) * 8, 128) for side in size)
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    margins = (left, width - size[1] - left, top, height - size[0] - top)
    larger, _ = raft_flow(network, *F.pad(frames, margins, mode="replicate"))
    assert (larger[top : top + size[0], left : left + size[1]] - forward).abs().max() < SWAP


def test_torchvision_there_is_back_with_the_frames_swapped(network):
    first, second = pair(128, 136)
    forward, backward = raft_flow(network, first, second)
    again, ahead = raft_flow(network, second, first)
    assert (forward - ahead).abs().max() < SWAP
    assert (backward - again).abs().max() < SWAP
    assert (forward - backward).abs().max() > 100 * SWAP  # or the frames' order meant nothing


def test_torchvision_loads_what_it_saved(network, kind, monkeypatch, tmp_path):
    """By the real module, from a cache that holds a file of the real weights' name."""
    optical_flow = raft_module._torchvision()
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    torch.hub.set_dir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    path = weights_path(getattr(optical_flow, raft_module.SIZES[kind][1]).DEFAULT.url)
    path.parent.mkdir()
    torch.save(network.state_dict(), path)
    load_network.cache_clear()
    try:
        frames = pair(128, 128)
        for found, expected in zip(estimate_raft(*frames, size=kind), raft_flow(network, *frames), strict=True):
            assert (found - expected).abs().max() < SWAP
    finally:
        load_network.cache_clear()
