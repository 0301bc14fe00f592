"""Commands of the documents that a CPU can run are run, on small stand-ins and with few steps."""

import sys

import pytest

from tests.documents import stand_ins
from tests.documents.blocks import Command
from tests.documents.test_commands import SHELL
from warped_diffusion import cli

QUICK = {
    "restore": ["--steps", "1"],
    "demo": ["--steps", "1"],
    "noise": ["--frames", "3"],
    "train": ["--steps", "1", "--batch", "2", "--crop", "32", "--workers", "0", "--checkpoint_every", "1"],
}
"""By verb, what is added so that a command takes seconds. Given twice, an option's last value counts."""

NOT_RUN = {
    "--model OWNER": "a checkpoint of several gigabytes from a hub",
    "bench": "takes minutes; tests/bench runs each benchmark with less effort",
    "evaluate CLIPS...": "run by examples/compare_two_schemes.py and tests/evaluate",
    "sdxl": "a checkpoint of several gigabytes from a hub, and a GPU",
    "run/model": "what such a training wrote",
}
"""What a command holds that is not run here, and why."""

RUN = ("warped-diffusion", ".venv/bin/warped-diffusion")


def reason(command: Command) -> str | None:
    """Why a command is not run; None if it is."""
    text = " ".join(command.words[1:])
    if "--model" in command.words:
        name = command.words[command.words.index("--model") + 1]
        if "/" in name and name != "run/model":
            return NOT_RUN["--model OWNER"]
    return next((why for part, why in NOT_RUN.items() if text.startswith(part) or f" {part}" in text), None)


OURS = [command for command in SHELL if command.words[0] in RUN]
RUNNABLE = [command for command in OURS if reason(command) is None]


def test_most_are_run_and_no_reason_is_idle():
    assert len(RUNNABLE) >= 12
    assert {command.words[1] for command in RUNNABLE} >= {"restore", "degrade", "train"}
    given = {reason(command) for command in OURS} - {None}
    assert given == set(NOT_RUN.values())


@pytest.mark.slow
@pytest.mark.parametrize("command", RUNNABLE, ids=str)
def test_the_command_runs(command, tmp_path, monkeypatch):
    stand_ins.place(tmp_path)
    monkeypatch.chdir(tmp_path)
    verb, *rest = command.words[1:]
    for made in rest[1:2] if verb in ("restore", "degrade") else []:
        if (tmp_path / made).is_file():
            (tmp_path / made).unlink()  # one command's input is another's output
    monkeypatch.setattr(sys, "argv", ["warped-diffusion", verb, *rest, *QUICK.get(verb, [])])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code
