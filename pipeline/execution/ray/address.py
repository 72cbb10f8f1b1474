"""``--address``: finds the Ray cluster to build on, and checks that its head answers."""

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError, UsageError
from pipeline.execution.ray.temporary import PREFIX
from pipeline.storage.location import Location

_CONNECT = 4.0  # seconds, for the connection and for the first answer each


def find(address: str | None) -> str | None:
    """Returns the cluster to build on as ``host:port``, or None for a local Ray.

    Args:
        address: ``host:port``; ``auto`` for the cluster in ``RAY_ADDRESS``, or else the one that runs on this machine, as
            in ``ray.init("auto")``; ``local`` for a local Ray; None for the cluster of the Ray job that this process
            belongs to, or a local Ray outside of Ray jobs.

    Raises:
        PipelineError: there is no cluster, or its head does not answer within ten seconds.
        UsageError: ``RAY_ADDRESS`` is not of the form host:port.
    """
    if address == "local" or (address is None and not _in_job()):
        return None
    if address is None or address == "auto":
        address = os.environ.get("RAY_ADDRESS") or "auto"
    if "://" in address:
        raise UsageError(f"RAY_ADDRESS is {address}; a build needs the host:port that ray start --head prints")
    with cluster_environment():
        if address == "auto":
            address = _on_this_machine()
        _check_answer(address)
    return address


def _on_this_machine() -> str:
    """Returns the cluster that runs on this machine. If several run: the one that ``ray start`` last joined."""
    from ray._private.services import find_bootstrap_address

    running = _running()
    if len(running) == 1:
        return running.pop()
    last: str | None = find_bootstrap_address(None)  # from a file in Ray's usual folder, so not with --temp-dir
    if last:
        return last
    if running:
        several = ", ".join(sorted(running))
        raise PipelineError(f"--address auto: several Ray clusters run on this machine; give one of {several}")
    raise PipelineError("--address auto: no Ray cluster runs on this machine; start or join one with ray start")


def _running() -> set[str]:
    """Returns the clusters whose servers run on this machine, without those that builds start for themselves."""
    import ray._private.services

    services: Any = ray._private.services
    commands = [process.info["cmdline"] or [] for process in services.psutil.process_iter(["cmdline"])]
    raylets = [words for words in commands if services._is_raylet_process(words)]
    clusters = [words for words in raylets if not any(f"/{PREFIX}" in word for word in words)]
    flag = "--gcs-address="
    return {word.removeprefix(flag) for words in clusters for word in words if word.startswith(flag)} - {"", "None"}


def check_output(out: Location) -> None:
    """Refuses an output inside the working directory of a Ray job, which Ray deletes. Raises PipelineError."""
    if _in_job() and isinstance(out, Path) and "runtime_resources" in out.resolve().parts:
        raise PipelineError(f"--out {out.resolve()} is the job's temporary folder; give a path that every node shares")


def dial(address: str) -> None:
    """Opens and closes a connection to ``host:port``. Raises OSError or ValueError."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), _CONNECT).close()


@contextlib.contextmanager
def cluster_environment() -> Iterator[None]:
    """Sets the variables that Ray reads when it is imported or joins a cluster, and restores the environment."""
    with restored_environment():
        os.environ.pop("RAY_ADDRESS", None)  # Ray prefers it to the address in the call
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        if _token():
            os.environ["RAY_AUTH_MODE"] = "token"
        yield


@contextlib.contextmanager
def restored_environment() -> Iterator[None]:
    """Restores the environment after the block: also what Ray itself sets, such as PYTHONBREAKPOINT."""
    before = os.environ.copy()
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


@contextlib.contextmanager
def quiet_ray() -> Iterator[Any]:
    """Imports Ray. While the block runs, Ray does not print the deaths of workers, and installs no handler of SIGTERM.

    Ray prints the deaths to stdout, even with ``log_to_driver=False``. Its handler of SIGTERM raises SystemExit, which is
    lost if the signal arrives in a finalizer.
    """
    import ray
    import ray._private.utils
    import ray._private.worker

    worker: Any = ray._private.worker
    utils: Any = ray._private.utils
    before = worker.print_to_stdstream, utils.set_sigterm_handler
    worker.print_to_stdstream, utils.set_sigterm_handler = lambda *_, **__: None, lambda _: None
    try:
        yield ray
    finally:
        worker.print_to_stdstream, utils.set_sigterm_handler = before


@contextlib.contextmanager
def our_signal_handlers() -> Iterator[None]:
    """Installs the handlers of SIGINT and SIGTERM again after the block, in which Ray's C++ code replaces them.

    Ray's handler prints a stack trace and ends the process with the signal.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # None: not installed by Python
                signal.signal(number, handler)


def _in_job() -> bool:
    """Returns whether this process was started by ``ray job submit``."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def _token() -> str:
    """Returns the token that Ray would send to a cluster, or an empty string."""
    if os.environ.get("RAY_AUTH_MODE", "token") != "token":
        return ""
    path = os.environ.get("RAY_AUTH_TOKEN_PATH") or os.path.expanduser("~/.ray/auth_token")  # as it is without a home
    with contextlib.suppress(OSError):
        return os.environ.get("RAY_AUTH_TOKEN") or Path(path).read_text().strip()
    return ""


def _check_answer(address: str) -> None:
    """Asks the head whether it is alive: ``ray.init`` would give up only after two minutes."""
    try:
        dial(address)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PipelineError(f"--address {address}: nobody answers ({reason}); is the cluster's head up?") from None
    if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
        return
    import grpc  # type: ignore[import-untyped]
    import ray
    from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

    token = _token()
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    with grpc.insecure_channel(address) as channel:
        gcs = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)  # type: ignore[no-untyped-call]
        try:
            question = gcs_service_pb2.CheckAliveRequest()  # type: ignore[attr-defined]
            answer = gcs.CheckAlive(question, timeout=_CONNECT, wait_for_ready=True, metadata=metadata)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                raise PipelineError(
                    f"--address {address}: the cluster needs a token and refuses {'yours' if token else 'none'}; "
                    f"set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN to the token of its nodes"
                ) from None
            raise PipelineError(
                f"--address {address}: this is not a Ray head; give the host:port that ray start --head prints"
            ) from None
    if answer.ray_version != ray.__version__:
        raise PipelineError(
            f"--address {address}: the cluster has Ray {answer.ray_version}, this machine {ray.__version__}; "
            f"install the same version"
        )
