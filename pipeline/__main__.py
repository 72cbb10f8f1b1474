"""``python -m pipeline``: the commands."""

COMMANDS = {
    "build": "cut a dataset at the given ranks and write its shards",
    "verify": "prove that an output is complete and right",
}

if __name__ == "__main__":
    for command, what in COMMANDS.items():
        print(f"python -m pipeline.{command:8} {what}")
