"""Make the pictures of docs/ anew: `python -m scripts.figures [NAME ...] [--out FOLDER]`; names are those of `FIGURES`.

Without names all are made, one after another; those that commands of the package draw take most of an hour.
"""

import argparse
from pathlib import Path

from scripts.figures import FIGURES, PICTURES, make


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FIGURES)}; all if left out")
    parser.add_argument("--out", type=Path, default=PICTURES, help="folder for the pictures")
    options = parser.parse_args()
    unknown = set(options.names) - FIGURES.keys()
    if unknown:
        parser.error(f"there is no figure {', '.join(sorted(unknown))}: choose of {', '.join(FIGURES)}")
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.names or FIGURES:
        for path in make(name, options.out):
            print(f"{path} {path.stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
