"""A run that is broken off, and gone on with from what it carried, gives the frames that would have come, exactly."""

import threading
import time
from concurrent.futures import Future

import pytest
import torch

from tests.models.tiny import tiny_denoiser
from warped_diffusion import running
from warped_diffusion.errors import ShapeError
from warped_diffusion.flow import identity_map, sample
from warped_diffusion.models import Model, embedded
from warped_diffusion.noise import warped
from warped_diffusion.options import Options
from warped_diffusion.restore import open_run
from warped_diffusion.snapshots import read_state, write_state
from warped_diffusion.tasks import enlarge

SIZE, SCALE, STEPS, COUNT, CUT = (14, 18), 2, 3, 8, 5


def clip():
    """A shot that zooms in, so that keys and noise are renewed, and a second one, which is found."""
    generator = torch.Generator().manual_seed(0)
    centre = torch.tensor([(SIZE[1] - 1) / 2, (SIZE[0] - 1) / 2])
    for j in range(COUNT):
        if j in (0, CUT):
            # Nothing so bright that the detector passes over it.
            picture = 0.1 + 0.7 * enlarge(torch.rand(1, 3, 16, 16, generator=generator), (64, 64))[0]
        zoom = 0.8 ** (j % CUT)
        yield sample(picture, (identity_map(*SIZE) - centre) * zoom + torch.tensor([30.0 + j, 30.0])).clamp(0, 1)


def holes():
    for j in range(COUNT):
        mask = torch.zeros(1, *SIZE)
        mask[:, 4:10, 3 + j : 9 + j] = 1
        yield mask


def tiny(task="super-resolution"):
    return Model(tiny_denoiser(task=task), embedded.SPECTRA, lambda _: (0.02, 2.0), lambda told: told["picture"])


class Halved:
    """Blocks of two by two pixels as twelve channels: a codec without a network."""

    factor = 2

    def encode(self, pictures):
        return torch.nn.functional.pixel_unshuffle(pictures, 2)

    def decode(self, latents):
        return torch.nn.functional.pixel_shuffle(latents, 2).clamp(-1, 1)


def of_latents():
    codec = Halved()

    def denoiser(noisy, sigma, condition):
        return codec.encode(condition["picture"]) + noisy / (1 + sigma[:, None, None, None] ** 2)

    return Model(denoiser, ("white",), lambda _: (0.02, 2.0), channels=12, codec=codec, multiple=2)


def begun(**options):
    model = options.pop("model", None) or tiny(options.get("task", "super-resolution"))
    defaults = {
        "scale": None if "task" in options else SCALE,
        "steps": STEPS,
        "model": model,
        "device": "cpu",
        "flow": "dis",
    }
    masks = holes() if options.get("task") == "inpainting" else None
    return open_run(clip(), Options(**defaults | options), masks=masks)


CASES = {
    "one lane": {"lanes": 1},
    "some lanes, a solver with a memory": {"lanes": 3, "solver": "dpmpp-2m"},
    "more lanes than steps, the paper's guidance": {"lanes": 5, "guidance": "network"},
    "smooth noise, a share of it fresh": {"lanes": 2, "spectrum": "squared-exponential", "fresh": 0.2},
    "noise that carries nothing": {"lanes": 2, "noise": "integral", "cuts": (2, 5)},
    "holes": {"lanes": 2, "task": "inpainting"},
    "guidance in the last step alone": {"lanes": 3, "guided": 0.3},
    "latents, decoded frames aligned": {"lanes": 2, "model": of_latents(), "decoded_guidance": 1.0},
}

WORN_SOON = ("one lane", "smooth noise, a share of it fresh")
"""Their noise begins a new function after a frame or two."""


@pytest.mark.parametrize("case", CASES)
def test_a_run_that_is_broken_off_anywhere_goes_on_as_if_it_was_not(case, tmp_path, monkeypatch):
    if case in WORN_SOON:
        monkeypatch.setattr(warped, "WORN", 0.9)
    whole, expected, finished = begun(**CASES[case]), [], []
    while not whole.done:
        expected += whole.advance()
        write_state(whole.state(), tmp_path / str(len(finished)))
        finished.append(len(expected))
    assert len(expected) == COUNT
    assert whole.shot.number > 0
    for place in range(0, len(finished), max(3, len(finished) // 4)):
        run = begun(**CASES[case])
        run.resume(read_state(tmp_path / str(place)))
        rest = list(run)
        assert run.evaluations == whole.evaluations
        assert all(torch.equal(*pair) for pair in zip(rest, expected[finished[place] :], strict=True)), place


def test_tensors_keep_their_strides_and_are_kept_once(tmp_path):
    tensor = torch.rand(2, 3, 5).permute(2, 0, 1)
    part = torch.rand(40, 3)[:1]
    state = {"a": tensor, "same": [tensor, tensor], "part": part, "number": 0.1, "none": None, "empty": []}
    write_state(state, tmp_path / "state")
    again = read_state(tmp_path / "state")
    for there, here in ((again["a"], tensor), (again["same"][1], tensor), (again["part"], part)):
        assert torch.equal(there, here)
        assert there.stride() == here.stride()
    assert (again["number"], again["none"], again["empty"]) == (0.1, None, [])
    assert (tmp_path / "state").stat().st_size < 2 * tensor.nbytes + 700


class AtOnce:
    """An executor that does what it is given there and then."""

    def __init__(self, *_):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def submit(self, function, *arguments):
        done = Future()
        done.set_result(function(*arguments))
        return done


@pytest.mark.parametrize("case", CASES)
def test_frames_made_ahead_are_those_made_when_they_are_wanted(case, monkeypatch):
    """To the last bit: a thread changes when a frame is prepared, not what is done."""
    ahead = list(begun(**CASES[case]))
    monkeypatch.setattr(running, "ThreadPoolExecutor", AtOnce)
    assert all(torch.equal(*pair) for pair in zip(ahead, begun(**CASES[case]), strict=True))


def test_the_next_frame_is_prepared_while_one_is_sampled():
    threads = set()
    run = begun(lanes=1)
    prepare = run.enter
    run.enter = lambda new: (threads.add(threading.current_thread()), prepare(new))[1]
    list(run.advance())
    assert threading.current_thread() not in threads
    assert run.carried["count"] == 1
    while run.count < 2:  # frame 1 is on its way though nobody has asked for it
        time.sleep(0.01)
    assert run.carried["count"] == 1


def test_a_wrong_frame_is_told_of_when_its_turn_comes():
    frames = [frame if j != 2 else frame[:, 1:] for j, frame in enumerate(clip())]
    run = open_run(frames, Options(scale=SCALE, steps=STEPS, model=tiny(), device="cpu", flow="dis", lanes=1))
    finished = []
    with pytest.raises(ShapeError, match="frame 2"):
        finished.extend(run)
    assert len(finished) == 2


def test_guidance_acts_in_the_share_of_the_steps_that_is_asked():
    def made(**options):
        return torch.stack(list(begun(**options)))

    whole, late, never, none = (
        made(lanes=1, **how) for how in ({}, {"guided": 0.3}, {"guided": 0.0}, {"guidance": "none"})
    )
    assert torch.equal(never, none)
    assert not torch.equal(late, none)
    assert not torch.equal(late, whole)
    torch.testing.assert_close(made(lanes=4, guided=0.3), late, rtol=0, atol=1e-5)
