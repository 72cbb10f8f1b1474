"""Loads exports with RobustBench's own ``data.py``: ``python apart.py robustbench_c.py FOLDER OUT.npz``.

RobustBench's ``model_zoo`` needs other versions of many packages, and its loaders use of it only an empty dict of networks.
``pkg_resources`` has left setuptools; RobustBench asks it for the path of a list of files.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np

home = Path(importlib.util.find_spec("robustbench").submodule_search_locations[0])  # type: ignore[union-attr,index]
package, zoo, resources = ModuleType("robustbench"), ModuleType("robustbench.model_zoo"), ModuleType("pkg_resources")
package.__path__, zoo.__path__ = [str(home)], [str(home / "model_zoo")]
zoo.model_dicts = {}  # type: ignore[attr-defined]
resources.resource_filename = lambda module, path: str(home / path)  # type: ignore[attr-defined]
sys.modules |= {module.__name__: module for module in (package, zoo, resources)}

from robustbench.data import load_cifar10c, load_imagenetc  # noqa: E402

folder, out = Path(sys.argv[1]), sys.argv[2]
loaded: dict[str, np.ndarray] = {}
for severity in range(1, 6):
    if (folder / "CIFAR-10-C").is_dir():
        x, y = load_cifar10c(300, severity, str(folder), corruptions=["low_rank"])
        loaded |= {f"cifar{severity}": x.numpy(), f"cifar labels{severity}": y.numpy()}
    if (folder / "ImageNet-C").is_dir():
        x, y = load_imagenetc(12, severity, str(folder), corruptions=["high_rank"])
        loaded |= {f"imagenet{severity}": x.numpy(), f"imagenet labels{severity}": y.numpy()}
np.savez(out, **loaded)  # type: ignore[arg-type]
