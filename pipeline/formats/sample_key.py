"""The keys of samples."""


def sample_key(split: str, index: int) -> str:
    """Returns the key of a sample: unique in the output and equal in every variant.

    Args:
        index: position in the source's order.
    """
    return f"{split}-{index:08d}"
