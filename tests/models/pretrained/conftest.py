from collections.abc import Callable
from pathlib import Path

import pytest

from tests.models.pretrained.checkpoints import save_checkpoint


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a family's checkpoint, made when it is first asked for. Not to be changed."""
    folders: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in folders:
            folders[family] = save_checkpoint(family, tmp_path_factory.mktemp("checkpoints") / family)
        return folders[family]

    return folder
