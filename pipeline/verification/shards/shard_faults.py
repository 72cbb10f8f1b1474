"""Collects the faults of one shard, each under the file that is most likely at fault."""

from collections.abc import Iterable

from pipeline.verification.arrays.zarr_rows import BadRows
from pipeline.verification.faults import Faults
from pipeline.verification.files import ABSENT, INTACT, Owners, State, state_of
from pipeline.verification.manifest.claims import Manifest, ShardSet, Variant, index_file, samples_file


class ShardFaults:
    """The faults of one shard, and the states of its files.

    The states are first assumed: every file is the one that the manifest claims. ``hash_files`` then finds them out.

    Args:
        owners: the claimed files by their SHA-256.
        listed: whether the list of samples is the file that the manifest claims.
    """

    def __init__(self, manifest: Manifest, shard: ShardSet, owners: Owners, listed: bool) -> None:
        self.all = Faults()
        self._manifest, self._shard, self._owners, self._listed = manifest, shard, owners, listed
        tars = shard.tars.values()
        self._states = {
            name: State(INTACT)
            if name in manifest.files
            else State(ABSENT, "is not in the manifest, so it is not read")
            for name in [*tars, *map(index_file, tars)]
        }
        self._clean = set(tars)
        self._of_list: set[str] = set()

    def hash_files(self) -> None:
        """Finds the state of every file of the shard by its hash."""
        for name in self._states:
            if claim := self._manifest.files.get(name):
                self._states[name] = state_of(self._manifest.root, name, claim, self._owners)

    def state(self, name: str) -> State:
        return self._states[name]

    def is_clean(self, tar: str) -> bool:
        """Returns whether reading a tar has shown no fault so far."""
        return tar in self._clean

    def suspects(self, variants: Iterable[Variant]) -> list[Variant]:
        """Returns those variants whose tar is not the claimed one."""
        return [variant for variant in variants if self._states[self._tar(variant)].kind != INTACT]

    def add(self, file: str, text: str) -> None:
        self.all.add(file, text)

    def add_to(self, variant: Variant, text: str) -> None:
        """Adds a fault of a variant's tar; of the list of samples, if that was changed and the tar was not."""
        tar = self._tar(variant)
        if self._states[tar].kind != INTACT or self._listed:
            self._clean.discard(tar)
            self.add(tar, text)
        elif text not in self._of_list:  # the other variants report the same
            self._of_list.add(text)
            self.add(samples_file(self._shard.split), f"disagrees with {tar}: {text}")

    def add_unreadable(self, error: BadRows) -> None:
        """Adds rows that cannot be read; if their file is not the claimed one, what is wrong with it as a file."""
        claim = self._manifest.files.get(error.file)
        problem = str(error)
        if not error.claimed and claim is not None:
            problem = state_of(self._manifest.root, error.file, claim, self._owners).problem
        self.add(error.file, problem or "changed while it was being verified")

    def _tar(self, variant: Variant) -> str:
        return self._shard.tars[variant.name]
