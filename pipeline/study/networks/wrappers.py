"""Removes from checkpoints what wrappers of networks add: prefixes of names, and entries of their own."""

from collections.abc import Callable, Container

from torch import Tensor

State = dict[str, Tensor]


def unwrap(state: State, expected: Container[str]) -> tuple[State, list[str]]:
    """Returns the state dict of the wrapped network, and the wrappers that were removed.

    Nothing is removed from names that fit, since a network may itself have a part called ``model``. If no name fits after
    all wrappers are removed, the state dict is returned as it is, so that errors give the names of the file.

    Args:
        expected: the parameters' names in the network.
    """
    inner, removed = state, list[str]()
    while not all(name in expected for name in inner):
        found = next((wrapper for wrapper in _WRAPPERS if wrapper.applies(inner)), None)
        if found is None:
            break
        inner = found.remove(inner)
        removed.append(found.title)
    return (inner, removed) if any(name in expected for name in inner) else (state, [])


class _Wrapper:
    """A wrapper of networks.

    Args:
        title: its name for the user.
        prefix: what it adds to the names of the wrapped network.
        own: prefixes of its own entries, which are dropped. The wrapper applies only if one is there, unless it has none.
        anywhere: whether the prefix may be inside names, too: parts of a network may be compiled.
    """

    def __init__(self, title: str, prefix: str, own: tuple[str, ...] = (), anywhere: bool = False) -> None:
        self.title, self._prefix, self._own, self._anywhere = title, prefix, own, anywhere

    def applies(self, state: State) -> bool:
        if self._own and not any(name.startswith(self._own) for name in state):
            return False
        return any(self._prefix in name if self._anywhere else name.startswith(self._prefix) for name in state)

    def remove(self, state: State) -> State:
        cut: Callable[[str], str] = (
            (lambda name: name.replace(self._prefix, ""))
            if self._anywhere
            else lambda name: name.removeprefix(self._prefix)
        )
        return {cut(name): tensor for name, tensor in state.items() if not (self._own and name.startswith(self._own))}


_WRAPPERS = (
    _Wrapper("torch.compile", "_orig_mod.", anywhere=True),
    _Wrapper("AveragedModel (n_averaged)", "module.", own=("n_averaged",)),
    _Wrapper("DataParallel", "module."),
    _Wrapper("the robustness library (attacker, normalizer)", "model.", own=("attacker.", "normalizer.")),
    _Wrapper("Lightning (model.)", "model."),
    _Wrapper("a wrapper (net.)", "net."),
)
