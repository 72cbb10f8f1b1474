"""A small Hugging Face Hub on loopback: datasets with branches, LFS uploads, commits, trees and downloads over HTTP.

It is written from the HTTP API of the Hub and from the LFS batch API, without this project's code. Xet is not served: the
tests set ``HF_HUB_DISABLE_XET``.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.publish.hub_state import PAGE, REGULAR, TOKEN, Dataset, File, State


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Server"

    def log_message(self, *_: object) -> None:
        pass

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            content = b""
            while size := int(self.rfile.readline(), 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return content
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(
        self, status: int, content: Any = None, headers: dict[str, str] | None = None, body: bytes = b""
    ) -> None:
        if content is not None:
            body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _error(self, status: int, text: str, code: str = "") -> None:
        headers = {"X-Error-Message": text} | ({"X-Error-Code": code} if code else {})
        self._answer(status, {"error": text}, headers)

    def _serve(self) -> None:
        body, state = self._body(), self.server.state
        url = urlsplit(self.path)
        path, query = unquote(url.path), parse_qs(url.query)
        state.requests.append(f"{self.command} {path}")
        for part, (status, text) in state.refuse.items():
            if part in f"{self.command} {path}":
                return self._error(status, text)
        if path.startswith("/lfs/"):
            return self._store(path.removeprefix("/lfs/"), body)
        if self.command not in ("GET", "HEAD") or "whoami" in path:
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            if token != TOKEN:
                return self._error(401, "Invalid username or password.")
        with state.lock:
            for pattern, method in ROUTES:
                match = re.fullmatch(pattern, f"{self.command} {path}")
                if match:
                    getattr(self, method)(*match.groups(), body=body, query=query)
                    return None
        return self._error(404, f"no such page: {path}")

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = _serve

    def _store(self, oid: str, body: bytes) -> None:
        state = self.server.state
        if state.hold_uploads_after is not None and len(state.uploads) >= state.hold_uploads_after:
            state.held.set()
            state.released.wait(60)
            return self._error(503, "the client has gone")
        with state.lock:
            if state.fail_uploads_after is not None and len(state.uploads) >= state.fail_uploads_after:
                return self._error(403, "the disk of the server is full")
            if hashlib.sha256(body).hexdigest() != oid:
                return self._error(400, "other content than announced")
            state.objects[oid] = body
            state.uploads.append(oid)
        self._answer(200)

    def whoami(self, **_: Any) -> None:
        self._answer(200, {"name": "anna", "type": "user", "orgs": [{"name": "lab", "roleInOrg": "write"}]})

    def validate_yaml(self, **_: Any) -> None:
        self._answer(200, {"errors": [], "warnings": []})

    def create(self, body: bytes, **_: Any) -> None:
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.server.state.datasets:
            address = f"{self.server.address}/datasets/{name}"
            return self._answer(409, {"error": "You already created this dataset repo", "url": address})
        self.server.state.datasets[name] = Dataset(asked.get("visibility") == "private")
        self._answer(200, {"url": f"{self.server.address}/datasets/{name}", "name": name})

    def _dataset(self, name: str) -> Dataset | None:
        dataset = self.server.state.datasets.get(name)
        if dataset is None:
            self._error(404, "Repository not found", "RepoNotFound")
        return dataset

    def _branch(self, name: str, branch: str | None) -> dict[str, File] | None:
        dataset = self._dataset(name)
        if dataset is None:
            return None
        revision = unquote(branch or "main")
        files = dataset.branches.get(revision if not re.fullmatch("[0-9a-f]{40}", revision) else "main")
        if files is None:
            self._error(404, "Invalid rev id", "RevisionNotFound")
        return files

    def info(self, name: str, branch: str | None = None, **_: Any) -> None:
        files, dataset = self._branch(name, branch), self.server.state.datasets.get(name)
        if files is not None and dataset is not None:
            siblings = [{"rfilename": path} for path in files]
            document = {"id": name, "private": dataset.private, "sha": self._sha(dataset), "siblings": siblings}
            self._answer(200, document | {"tags": [], "downloads": 0, "likes": 0, "gated": False, "disabled": False})

    def _sha(self, dataset: Dataset) -> str:
        return hashlib.sha1(str(len(dataset.commits)).encode()).hexdigest()

    def branch(self, name: str, branch: str, **_: Any) -> None:
        dataset = self._dataset(name)
        if dataset is not None:
            if branch in dataset.branches:
                return self._error(409, "Reference already exists")
            dataset.branches[branch] = dict(dataset.branches["main"])
            self._answer(200, {})

    def preupload(self, name: str, branch: str, body: bytes, **_: Any) -> None:
        files = self._branch(name, branch)
        if files is None:
            return
        answers = []
        for asked in json.loads(body)["files"]:
            path, large = asked["path"], asked["path"].endswith(".tar") or asked["size"] > REGULAR
            answer = {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
            if path in files:
                entry = files[path].entry
                answer["oid"] = entry["lfs"]["oid"] if "lfs" in entry else entry["oid"]
            answers.append(answer)
        self._answer(200, {"files": answers})

    def batch(self, name: str, body: bytes, **_: Any) -> None:
        objects = []
        for asked in json.loads(body)["objects"]:
            answer = {"oid": asked["oid"], "size": asked["size"]}
            if asked["oid"] not in self.server.state.objects:
                answer["actions"] = {"upload": {"href": f"{self.server.address}/lfs/{asked['oid']}"}}
            objects.append(answer)
        self._answer(200, {"transfer": "basic", "objects": objects})

    def commit(self, name: str, branch: str, body: bytes, **_: Any) -> None:
        files, dataset, state = self._branch(name, branch), self.server.state.datasets.get(name), self.server.state
        if files is None or dataset is None:
            return None
        paths = []
        for line in body.splitlines():
            item = json.loads(line)
            kind, value = item["key"], item["value"]
            if kind == "header":
                continue
            if kind == "deletedFile":
                del files[value["path"]]
            elif kind == "file":
                files[value["path"]] = File(base64.b64decode(value["content"]), lfs=False)
            elif kind == "lfsFile":
                if value["oid"] not in state.objects:
                    return self._error(400, f"no such LFS object: {value['oid']}")
                files[value["path"]] = File(state.objects[value["oid"]], lfs=True)
            if value["path"] == state.corrupt:
                file = files[value["path"]]
                files[value["path"]] = File(file.content[::-1], file.lfs)
            paths.append(value["path"])
        dataset.commits.append((branch, paths))
        sha = self._sha(dataset)
        self._answer(200, {"commitUrl": f"{self.server.address}/datasets/{name}/commit/{sha}", "commitOid": sha})

    def tree(self, name: str, branch: str, folder: str | None, query: dict[str, list[str]], **_: Any) -> None:
        files = self._branch(name, branch)
        if files is None:
            return None
        prefix = f"{folder.strip('/')}/" if folder and folder.strip("/") else ""
        inside = {path: file for path, file in sorted(files.items()) if path.startswith(prefix)}
        if prefix and not inside:
            return self._error(404, f"{folder} does not exist", "EntryNotFound")
        folders = {
            path[: len(prefix)] + path[len(prefix) :].partition("/")[0] for path in inside if "/" in path[len(prefix) :]
        }
        recursive = query.get("recursive", ["false"])[0].lower() in ("true", "1")
        entries = [{"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in sorted(folders)]
        entries += [
            file.entry | {"path": path} for path, file in inside.items() if recursive or "/" not in path[len(prefix) :]
        ]
        start = int(query.get("cursor", ["0"])[0])
        headers = {}
        if start + PAGE < len(entries):
            further = f"{self.server.address}{urlsplit(self.path).path}?recursive={recursive}&cursor={start + PAGE}"
            headers["Link"] = f'<{further}>; rel="next"'
        self._answer(200, entries[start : start + PAGE], headers)

    def paths_info(self, name: str, branch: str, body: bytes, **_: Any) -> None:
        files = self._branch(name, branch)
        if files is not None:
            text = body.decode()
            asked = json.loads(text)["paths"] if text.startswith("{") else parse_qs(text).get("paths", [])
            found = [files[path].entry | {"path": path} for path in asked if path in files]
            asked_folders = [
                path for path in asked if path not in files and any(f.startswith(f"{path}/") for f in files)
            ]
            found += [{"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in asked_folders]
            self._answer(200, found)

    def resolve(self, name: str, branch: str, path: str, **_: Any) -> None:
        files, dataset = self._branch(name, branch), self.server.state.datasets.get(name)
        if files is None or dataset is None:
            return None
        if path not in files:
            return self._error(404, f"{path} does not exist", "EntryNotFound")
        content, entry = files[path].content, files[path].entry
        etag = entry["lfs"]["oid"] if "lfs" in entry else entry["oid"]
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": self._sha(dataset), "Accept-Ranges": "bytes"}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted:
            start, end = int(wanted[1]), int(wanted[2] or len(content) - 1)
            part = content[start : end + 1]
            headers["Content-Range"] = f"bytes {start}-{start + len(part) - 1}/{len(content)}"
            return self._answer(206, headers=headers, body=part)
        self._answer(200, headers=headers, body=content)


_NAME = r"([^/]+/[^/]+)"
ROUTES = [
    ("GET /api/whoami-v2", "whoami"),
    ("POST /api/validate-yaml", "validate_yaml"),
    ("POST /api/repos/create", "create"),
    (f"GET /api/datasets/{_NAME}", "info"),
    (f"GET /api/datasets/{_NAME}/revision/(.+)", "info"),
    (f"POST /api/datasets/{_NAME}/branch/(.+)", "branch"),
    (f"POST /api/datasets/{_NAME}/preupload/(.+)", "preupload"),
    (rf"POST /datasets/{_NAME}\.git/info/lfs/objects/batch", "batch"),
    (f"POST /api/datasets/{_NAME}/commit/(.+)", "commit"),
    (f"GET /api/datasets/{_NAME}/tree/([^/]+)(/.*)?", "tree"),
    (f"POST /api/datasets/{_NAME}/paths-info/(.+)", "paths_info"),
    (f"(?:GET|HEAD) /datasets/{_NAME}/resolve/([^/]+)/(.+)", "resolve"),
]


class Server(ThreadingHTTPServer):
    """The Hub. ``state`` is what it holds."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.state = State()
        self.address = f"http://127.0.0.1:{self.server_address[1]}"


def running() -> Iterator[Server]:
    """Yields a Hub that serves in a thread, and ends it."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()
