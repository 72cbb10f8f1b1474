"""An S3 API on loopback: moto's server in its own process. Tests can count its requests and make them fail.

``python s3_server.py`` prints its port and serves until its standard input ends. ``POST /-/fault`` sets a fault.
"""

import importlib
import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


class Object(NamedTuple):
    """The ETag of an object and the time of its last write."""

    tag: str
    written: str


class S3Server:
    """The server as a context manager, and its client."""

    def __enter__(self) -> "S3Server":
        boto3: Any = importlib.import_module("boto3")  # of the test extra
        self._server = subprocess.Popen(
            [sys.executable, __file__],
            env=os.environ | {"S3_UPLOAD_PART_MIN_SIZE": "1024"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._server.stdout
        self.url = f"http://127.0.0.1:{int(self._server.stdout.readline())}"
        self.environment = CREDENTIALS | {"AWS_ENDPOINT_URL": self.url, "AWS_EC2_METADATA_DISABLED": "true"}
        key, secret, region = CREDENTIALS.values()
        self.client: Any = boto3.client(
            "s3", endpoint_url=self.url, aws_access_key_id=key, aws_secret_access_key=secret, region_name=region
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()

    def fail(self, method: str, path: str, status: int, code: str, times: int = 1_000_000, after: int = 0) -> None:
        """Makes requests fail whose method and path with query match. The first ``after`` of them succeed."""
        fault = {"method": method, "path": path, "status": status, "code": code, "times": times, "after": after}
        self._post("/-/fault", fault)

    def reset(self) -> None:
        """Removes all faults and restarts the count of requests."""
        self._post("/-/reset", {})

    def requests(self) -> list[str]:
        """Returns method and path with query of every request since the last ``reset``."""
        with urllib.request.urlopen(f"{self.url}/-/requests") as answer:
            requests: list[str] = json.load(answer)
            return requests

    def objects(self, url: str) -> dict[str, Object]:
        """Returns every object below a URL, except ``.build``, by name."""
        listed = self._listed(url)
        return {
            name: Object(each["ETag"], str(each["LastModified"]))
            for name, each in listed.items()
            if not name.startswith(".build/")
        }

    def contents(self, url: str) -> dict[str, bytes]:
        """Returns the bytes of every object below a URL, except ``.build``."""
        bucket = url.split("/")[2]
        keys = {name: each["Key"] for name, each in self._listed(url).items() if not name.startswith(".build/")}
        return {name: self.client.get_object(Bucket=bucket, Key=key)["Body"].read() for name, key in keys.items()}

    def names(self, url: str) -> list[str]:
        """Returns the names of all objects below a URL."""
        return sorted(self._listed(url))

    def copy(self, url: str, to: str) -> None:
        """Copies all objects below a URL to another one in the same bucket."""
        bucket, _, prefix = to.removeprefix("s3://").partition("/")
        for name, each in self._listed(url).items():
            source = {"Bucket": bucket, "Key": each["Key"]}
            self.client.copy_object(Bucket=bucket, Key=f"{prefix}/{name}", CopySource=source)

    def uploads(self, url: str) -> list[str]:
        """Returns the keys of the unfinished uploads below a URL."""
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        answer = self.client.list_multipart_uploads(Bucket=bucket, Prefix=prefix)
        return [each["Key"] for each in answer.get("Uploads", ())]

    def _listed(self, url: str) -> dict[str, Any]:
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
        return {each["Key"][len(prefix) + 1 :]: each for page in pages for each in page.get("Contents", ())}

    def _post(self, path: str, content: Any) -> None:
        request = urllib.request.Request(f"{self.url}{path}", json.dumps(content).encode(), method="POST")
        urllib.request.urlopen(request).close()


class _Faulty:
    """WSGI: moto's application, with requests recorded and failed on request."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application
        self._lock = threading.Lock()
        self._faults: list[dict[str, Any]] = []
        self._seen: list[str] = []

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
        if path.startswith("/-/"):
            return self._control(path, environ, start)
        request = f"{path}?{query}" if query else path
        with self._lock:
            self._seen.append(f"{environ['REQUEST_METHOD']} {request}")
            fault = next((f for f in self._faults if self._matches(f, environ["REQUEST_METHOD"], request)), None)
        if fault is None:
            return self._application(environ, start)
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if fault["status"] == 0:
            time.sleep(float(fault["code"]))  # and then answer with an error
            fault = {"status": 500, "code": "InternalError"}
        start(f"{fault['status']} Fault", [("Content-Type", "application/xml")])
        if fault["status"] == 200:  # to a bulk delete
            return [b"<DeleteResult><Error><Key>x</Key><Code>AccessDenied</Code></Error></DeleteResult>"]
        return [f"<Error><Code>{fault['code']}</Code><Message>{fault['code']} as told</Message></Error>".encode()]

    def _matches(self, fault: dict[str, Any], method: str, request: str) -> bool:
        if not re.fullmatch(fault["method"], method) or not re.search(fault["path"], request):
            return False
        fault["after"] -= 1
        if fault["after"] >= 0:
            return False
        fault["times"] -= 1
        return bool(fault["times"] >= 0)

    def _control(self, path: str, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        with self._lock:
            answer = json.dumps(self._seen).encode()
            if path == "/-/fault":
                self._faults.append(json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))))
            elif path == "/-/reset":
                self._faults, self._seen = [], []
        start("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
        return [answer]


def _serve() -> None:
    moto: Any = importlib.import_module("moto.server")
    serving: Any = importlib.import_module("werkzeug.serving")
    application = _Faulty(moto.DomainDispatcherApplication(moto.create_backend_app))
    server = serving.make_server("127.0.0.1", 0, application, threaded=True)
    print(server.server_port, flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    sys.path[:] = [path for path in sys.path if Path(path) != Path(__file__).parent]
    _serve()
