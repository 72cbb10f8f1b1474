"""Runs a Python file with torchvision and robustbench: ``python apart.py FILE ARGUMENTS``.

The Makefile installs them in a folder of their own. torchvision is built for torch with CUDA. With another torch, its import
fails because operators are missing; here these are declared first. Nothing calls them.
"""

import runpy
import sys
from pathlib import Path

import torch

FOLDER = Path(sys.prefix) / "apart"

if __name__ == "__main__":
    # Before site-packages, where torchattacks has a part of robustbench. After this project: robustbench, too, has tests.
    site = next(i for i, folder in enumerate(sys.path) if folder.endswith("site-packages"))
    sys.path.insert(site, str(FOLDER))
    operators = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
