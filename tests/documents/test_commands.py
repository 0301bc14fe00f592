"""Every command in the documents is one that there is: verbs, options, values, targets of make, extras, files."""

import argparse
import re
import tomllib
from collections.abc import Sequence
from unittest.mock import patch

import pytest

from tests.documents.blocks import PAGES, ROOT, Block, Command, blocks, commands, inline
from tests.documents.command_line import Reached, refusal
from warped_diffusion.training import read_config, read_overrides

SHELL = [command for page in PAGES for block in blocks(page) if block.language == "sh" for command in commands(block)]
COMMANDS = SHELL + [command for page in PAGES for command in inline(page)]

PLACEHOLDERS = {
    "FILE@START:END/SHRINK": "clip.mp4@0:8/2",
    "FILE@START:END": "clip.mp4@0:8",
    "CLIPS...": "sample",
    "NAME": "gp",
    "NAME=FRAMES": "clip=8,16",
}
"""Words in capitals that stand for something with a form; other ones are as good as any name of a file."""

ABBREVIATED = {"degrade", "noise", "restore", "train", "evaluate", "bench"}
"""Verbs that a sentence names without what they need."""

NOT_OURS = {
    "accelerate config": "asks questions",
    "apt-get": "Debian's",
    "cd": "the shell's",
    "dpkg": "Debian's",
    "done": "the shell's",
    "for": "the shell's; of Debian packages and wheels",
    "git": "needs an address",
    "mkdir": "the shell's",
    "pip download": "needs a network",
    "pip show": "only looks",
    "tensorboard": "a server",
    "unzip": "of a file from a network",
}
"""Commands that are not looked into, and why."""

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
TRAINING = ("-m", "warped_diffusion.training")


def check(command: Command) -> None:
    """Raises: AssertionError or UserError for a command that could not be run."""
    words = [PLACEHOLDERS.get(word, word) for word in command.words if word != "..."]
    name = words[0].removeprefix(".venv/bin/")
    if name == "warped-diffusion":
        if not (len(words) == 2 and words[1] in ABBREVIATED):
            assert refusal(words[1:]) is None
    elif name == "bench":
        assert refusal(words) is None
    elif name == "make":
        check_make(words[1:])
    elif name == "pip" and words[1] == "install":
        check_install(words[2:])
    elif name in ("accelerate", "torchrun") and TRAINING[1] in words:
        check_training(words[words.index(TRAINING[1]) + 1 :])
    elif name == "python":
        check_script(words[1:])
    else:
        assert name in NOT_OURS or " ".join(words[:2]) in NOT_OURS, f"{command}: nothing here knows of it"


def check_make(words: Sequence[str]) -> None:
    text = (ROOT / "Makefile").read_text()
    for word in words:
        variable, equals, _ = word.partition("=")
        pattern = rf"^{variable}\s*\?=" if equals else rf"^{re.escape(word)}:"
        assert re.search(pattern, text, re.MULTILINE), f"Makefile has no {word}"


def check_install(words: Sequence[str]) -> None:
    for word in words:
        found = re.fullmatch(r"(?:warped-diffusion|\.)\[([a-z,]+)\]", word)
        for extra in found[1].split(",") if found else ():
            assert extra in PYPROJECT["project"]["optional-dependencies"], f"there is no extra {extra}"


def check_training(words: Sequence[str]) -> None:
    config, *options = words
    read_config(config, **read_overrides([word for word in options if word != "--dry-run"]))


def check_script(words: Sequence[str]) -> None:
    """A script's own parser reads the options, and nothing more is done."""
    if words[0] == "-m":
        assert (ROOT / words[1].replace(".", "/") / "__main__.py").is_file(), f"no module {words[1]}"
        return
    path = ROOT / words[0]
    assert path.is_file(), f"there is no {words[0]}"
    names = {"__name__": "__main__", "__file__": str(path)}
    real = argparse.ArgumentParser.parse_args

    def stop(parser: argparse.ArgumentParser, *_: object) -> None:
        real(parser, words[1:])
        raise Reached

    with patch.object(argparse.ArgumentParser, "parse_args", stop):
        if "argparse" in path.read_text():
            with pytest.raises(Reached):
                exec(compile(path.read_text(), str(path), "exec"), names)
        else:
            assert len(words) == 1, f"{words[0]} takes no options"


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_the_command_is_one_that_there_is(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check(command)


def test_all_kinds_are_found():
    assert len(SHELL) > 40
    assert {command.page for command in COMMANDS} >= {"README.md", "index.md", "inpainting.md", "training.md"}


WRONG = [
    "warped-diffusion restor in.mp4 out.mp4",
    "warped-diffusion restore in.mp4 out.mp4 --scales 4",
    "warped-diffusion restore in.mp4 out.mp4 --scale 9",
    "warped-diffusion restore in.mp4 out.mp4 --task sharpening",
    "warped-diffusion restore in.mp4 out.mp4 --task inpainting",
    "warped-diffusion restore in.mp4 out.mp4 --mask mask.png",
    "warped-diffusion restore in.mp4 out.mp4 --noise pink",
    "warped-diffusion restore in.mp4 out.mp4 --guidance literal",
    "warped-diffusion restore in.mp4 out.mp4 --solver heun",
    "warped-diffusion restore in.mp4 out.mp4 --flow farneback",
    "warped-diffusion restore in.mp4 out.mp4 --model embeded",
    "warped-diffusion restore in.mp4 out.mp4 --model a/b --scale 4 --offload some",
    "warped-diffusion restore in.mp4 out.mp4 --codec vp9 --quality 99",
    "warped-diffusion restore in.mp4 out.webm --codec h264",
    "warped-diffusion restore in.mp4",
    "warped-diffusion degrade in.mp4 out.mp4 --blur 2",
    "warped-diffusion demo --task inpainting",
    "warped-diffusion demo --scale 3",
    "warped-diffusion noise out.mp4 --scheme white",
    "warped-diffusion noise out.mp4 --motion spin",
    "warped-diffusion evaluate sample",
    "warped-diffusion evaluate sample --out out --schemes gp,pink",
    "warped-diffusion evaluate sample --out out --peers topaz",
    "warped-diffusion train embedded-sr --pictures p --out run --learning-rate 1",
    "warped-diffusion train embedded-xl --pictures p --out run",
    "warped-diffusion bench speed",
    "accelerate launch -m warped_diffusion.training embedded-sr --pictures p --out run --rates 1",
    "make demonstration",
    "make demo SIZE=4",
    'pip install "warped-diffusion[everything]"',
    "python examples/nothing.py",
    "python examples/compare_two_schemes.py --folder out",
    "ffmpeg -i in.mp4 out.gif",
]


@pytest.mark.parametrize("text", WRONG)
def test_what_there_is_not_is_noticed(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (command,) = commands(Block("page.md", 1, "sh", text))
    with pytest.raises((Exception, SystemExit)) as error:
        check(command)
    assert not isinstance(error.value, Reached)
