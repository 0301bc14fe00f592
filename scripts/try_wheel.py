"""Install a wheel into an empty environment and use it outside of the repository: `python scripts/try_wheel.py FILE`.

What the wheel depends on is installed from the index, or with `--borrow` lent by the environment that runs this script,
for machines without a network. Either way the package itself comes from the wheel alone.
"""

import argparse
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
import zipfile
from pathlib import Path

HELD = (
    "assets/sample.mp4",
    "assets/sample-original.mp4",
    "assets/CREDITS.md",
    "models/weights/super-resolution.safetensors",
    "models/weights/inpainting.safetensors",
    "models/weights/clean-up.safetensors",
    "models/weights/SHA256SUMS",
    "evaluate/published.toml",
    "evaluate/web/page.html",
    "training/presets/embedded-sr.toml",
    "py.typed",
)
"""What a wheel must hold beside the code."""

WHERE = "import warped_diffusion; print(warped_diffusion.__file__)"


def missing(wheel: Path) -> list[str]:
    """What of `HELD` a wheel lacks."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    return [name for name in HELD if f"warped_diffusion/{name}" not in names]


def install(wheel: Path, folder: Path, borrow: bool) -> Path:
    """The interpreter of a new environment that has the wheel."""
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    offline = ["--no-deps", "--no-index"] if borrow else []
    run([python, "-m", "pip", "install", "--quiet", *offline, wheel.resolve()], folder)
    if borrow:
        (site,) = folder.glob("lib/python*/site-packages")
        # A path only lends packages; editable installations are lines of .pth files, which are not followed from here.
        (site / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"])
    return python


def run(words: list, folder: Path) -> str:
    """What a command prints, run in `folder`.   Raises: SystemExit with what it said if it fails."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(list(map(str, words)), cwd=folder, env=clean, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--borrow", action="store_true", help="lend the packages of this environment to the new one")
    parser.add_argument("--steps", type=int, default=1, help="of the demo")
    options = parser.parse_args()
    if lacking := missing(options.wheel):
        sys.exit(f"{options.wheel} lacks {', '.join(lacking)}")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made).resolve()
        python = install(options.wheel, folder / "environment", options.borrow)
        place = run([python, "-c", WHERE], folder).strip()
        if not Path(place).is_relative_to(folder):
            sys.exit(f"the package was found at {place}, not in the new environment")
        command = python.with_name("warped-diffusion")
        print(run([command, "demo", "--steps", options.steps, "--out", folder / "demo"], folder))
        for name in ("restored.mp4", "comparison.mp4", "film-strip.png"):
            if not (folder / "demo" / name).stat().st_size:
                sys.exit(f"the demo left {name} empty")
    print(f"{options.wheel.name}: installed and used outside of the repository")


if __name__ == "__main__":
    main()
