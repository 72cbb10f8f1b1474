"""Uses networks of RobustBench's zoo: ``python apart.py robustbench_network.py COMMAND ARGUMENTS``. COMMAND is one of

- ``make CHECKPOINT``: writes a ResNet-18 with random weights, as RobustBench distributes its networks;
- ``madry CHECKPOINT``: writes a ResNet-50 as MadryLab's robustness library does, and prints by how much the logits of
  ``resnet50_cifar`` differ from those of RobustBench's network;
- ``load SPEC WEIGHTS ...``: loads each network, and prints the error that this raises;
- the name of a study.
"""

import importlib
import sys
from pathlib import Path

import torch

from pipeline.errors import UsageError
from pipeline.study.networks import robustbench_zoo
from pipeline.study.networks.load import load_network

command, *arguments = sys.argv[1:]
if command == "make":
    with robustbench_zoo._quiet():
        utils = robustbench_zoo._utils("")
    torch.manual_seed(0)
    network = utils.all_models[utils.BenchmarkDataset.cifar_10][utils.ThreatModel.L2]["Sehwag2021Proxy_R18"]["model"]()
    torch.save(
        {"state_dict": {f"module.{name}": values for name, values in network.state_dict().items()}}, arguments[0]
    )
elif command == "madry":
    with robustbench_zoo._quiet():
        utils = robustbench_zoo._utils("")
    network = utils.all_models[utils.BenchmarkDataset.cifar_10][utils.ThreatModel.Linf]["Engstrom2019Robustness"][
        "model"
    ]()
    torch.manual_seed(0)
    for parameter in network.parameters():
        parameter.data.normal_(0, 0.03)
    state = {f"module.model.{name}": values for name, values in network.state_dict().items()}
    state["module.normalizer.new_mean"] = state.pop("module.model.mu").reshape(3, 1, 1)
    state["module.normalizer.new_std"] = state.pop("module.model.sigma").reshape(3, 1, 1)
    torch.save({"model": state}, arguments[0])
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        print(float((load_network("resnet50_cifar", arguments[0])(x) - network.eval()(x)).abs().max()))
elif command == "load":
    for spec, weights in zip(arguments[::2], arguments[1::2], strict=True):
        try:
            robustbench_zoo.load(spec, Path(weights), spec)
        except UsageError as error:
            print(error)
else:
    sys.exit(importlib.import_module(f"pipeline.study.{command}").main(arguments))
