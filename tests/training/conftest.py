from functools import cache

import pytest
import torch

from tests.training.packed import pack


@pytest.fixture(autouse=True)
def threads_as_before():
    """A run sets torch's number of threads; the tests after it should not inherit that."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    """Where runs can be repeated bit for bit."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")


@pytest.fixture(scope="session")
def packed(tmp_path_factory):
    """A folder that holds packed pictures under `pictures`."""
    folder = tmp_path_factory.mktemp("training")
    pack(folder / "pictures")
    return folder


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """The folder of a family's tiny random checkpoint, made when it is first asked for. Not to be changed."""
    from tests.models.pretrained.checkpoints import save_checkpoint

    folder = tmp_path_factory.mktemp("checkpoints")
    return cache(lambda family: save_checkpoint(family, folder / family))
