"""Makes docs/ranks.png, the picture in the README, from a report on two photographs: ``python docs/pictures.py``."""

import subprocess
import sys
import tempfile
from pathlib import Path

import skimage
from PIL import Image

PHOTOGRAPHS = {"cat": "chelsea.png", "coffee": "coffee.png"}  # both under CC0
WIDTH = 1280  # pixels


def run(module: str, *arguments: object) -> None:
    """Runs ``python -m pipeline.<module>``. Raises CalledProcessError if it fails."""
    subprocess.run([sys.executable, "-m", f"pipeline.{module}", *map(str, arguments)], check=True)


def main() -> None:
    """Builds an output of the photographs, writes its report, and stores the contact sheet at a smaller size."""
    with tempfile.TemporaryDirectory() as folder:
        data, out, pictures = (Path(folder) / name for name in ("data", "out", "pictures"))
        for name, file in PHOTOGRAPHS.items():
            (data / "train" / name).mkdir(parents=True)
            (data / "train" / name / file).symlink_to(Path(skimage.__file__).parent / "data" / file)
        ranks, size = ("--ranks", "5,10,20,50", "--components", "low,high,full"), ("--resize", 224, "--crop", 224)
        run("build", "--dataset", "folder", "--data-dir", data, "--out", out, "--workers", 0, "--quiet", *ranks, *size)
        run("report", out, "--png", pictures)
        sheet = Image.open(pictures / "contact-sheet.png")
        small = sheet.resize((WIDTH, round(sheet.height * WIDTH / sheet.width)), Image.Resampling.LANCZOS)
        small.quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(Path(__file__).parent / "ranks.png", optimize=True)


if __name__ == "__main__":
    main()
