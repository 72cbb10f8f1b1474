"""``python -m pipeline``: the commands."""

COMMANDS = {
    "build": "cut a dataset at the given ranks and write its shards",
    "verify": "prove that an output is complete and right",
    "export": "write one variant of an output as npy arrays or as a tree of PNG files",
}

if __name__ == "__main__":
    for command, what in COMMANDS.items():
        print(f"python -m pipeline.{command:8} {what}")
