"""Uses networks of RobustBench's zoo: ``python apart.py robustbench_network.py COMMAND ARGUMENTS``. COMMAND is one of

- ``make CHECKPOINT``: writes a ResNet-18 with random weights, as RobustBench distributes its networks;
- ``load SPEC WEIGHTS ...``: loads each network, and prints the error that this raises;
- the name of a study.
"""

import importlib
import sys
from pathlib import Path

import torch

from pipeline.errors import UsageError
from pipeline.study.networks import robustbench_zoo

command, *arguments = sys.argv[1:]
if command == "make":
    with robustbench_zoo._quiet():
        utils = robustbench_zoo._utils("")
    torch.manual_seed(0)
    network = utils.all_models[utils.BenchmarkDataset.cifar_10][utils.ThreatModel.L2]["Sehwag2021Proxy_R18"]["model"]()
    torch.save(
        {"state_dict": {f"module.{name}": values for name, values in network.state_dict().items()}}, arguments[0]
    )
elif command == "load":
    for spec, weights in zip(arguments[::2], arguments[1::2], strict=True):
        try:
            robustbench_zoo.load(spec, Path(weights), spec)
        except UsageError as error:
            print(error)
else:
    sys.exit(importlib.import_module(f"pipeline.study.{command}").main(arguments))
