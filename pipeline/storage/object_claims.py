"""Claims in object storage: the back end of ``lock.py`` for ``ObjectStore``.

Claims are the objects ``.build/lock/NNNNNN``; the highest number is the last claim. A run takes the output over by creating
the next number with If-None-Match, which a server grants to one run only. On a server without that condition, a run reads
its claim again after a moment: the last of two writers is the owner. A run that sees a higher number than its own has lost
the output for good.
"""

import contextlib
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass

from pipeline.storage.bucket import Bucket
from pipeline.storage.lock import Claim, Taken

FOLDER = ".build/lock"
SILENT_BEATS = 6
_SECOND_LOOK = 2.0  # seconds, where the server lets two runs create one object


@dataclass(frozen=True)
class ObjectClaims:
    """The claims on the output in a bucket's prefix."""

    bucket: Bucket

    def alive(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def last(self) -> Claim:
        number = max((int(name) for name in self.bucket.names(FOLDER) if name.isdecimal()), default=0)
        if not number:
            return Claim()
        try:
            return Claim.parse(self.bucket.read(_name(number)), number)
        except FileNotFoundError:  # replaced between the two requests
            return Claim(number=number)

    def silent_beats(self, claim: Claim) -> int:
        return SILENT_BEATS

    def take_over(self, before: Claim, claim: Claim) -> Claim:
        claim = claim._replace(number=before.number + 1)
        if not self._create(claim):
            raise Taken
        if self._create(claim):  # the server does not know the condition
            time.sleep(_SECOND_LOOK)
            if self.last() != claim:
                raise Taken
        if before.number:
            with contextlib.suppress(OSError):
                self.bucket.delete([_name(before.number)])
        return claim

    def _create(self, claim: Claim) -> bool:
        try:
            self.bucket.create(_name(claim.number), claim.to_json())
        except FileExistsError:
            return False
        return True

    def write(self, claim: Claim) -> None:
        self.bucket.write(_name(claim.number), claim.to_json())

    def release(self, claim: Claim) -> None:
        """Keeps the number in use: a later run counts on from it."""
        self.write(claim._replace(fields={**claim.fields, "released": True}))

    def publishing(self) -> AbstractContextManager[None]:
        """No server can do that: a publish that was checked may arrive after a take-over (docs/faults.md)."""
        return contextlib.nullcontext()


def _name(number: int) -> str:
    return f"{FOLDER}/{number:06d}"
