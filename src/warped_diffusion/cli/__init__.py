"""The command line: one verb per action, results to stdout, progress and talk to stderr."""

from warped_diffusion.cli import clips, evaluation, tools
from warped_diffusion.cli.verbs import main

__all__ = ["clips", "evaluation", "main", "tools"]
