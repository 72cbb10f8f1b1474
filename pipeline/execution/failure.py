"""Why a shard could not be built."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Failure:
    """Why a shard could not be built.

    Attributes:
        retryable: whether another try may succeed, as after a read error or the death of a worker.
        details: a traceback if the cause is a bug in this program, else empty.
        node: the host of the worker; None if it is unknown.
    """

    message: str
    retryable: bool = False
    details: str = ""
    node: str | None = None


@dataclass(frozen=True)
class WorkerDied(Failure):
    """The process that built the shard has died, or did not have enough memory."""


@dataclass(frozen=True)
class NodeLost(Failure):
    """The node that built the shard is gone."""
