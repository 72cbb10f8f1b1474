"""A dataset on the Hugging Face Hub, through huggingface_hub: what it holds, uploads, and the hashes that it reports."""

import contextlib
import hashlib
import json
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import extras
from pipeline.errors import PipelineError, one_line
from pipeline.formats.clients import croissant
from pipeline.planning.manifest import NAME
from pipeline.publish.copy import Copy

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoFile


class Hub:
    """One dataset at one revision.

    Args:
        repository: owner and name.
        revision: the branch.

    Raises:
        PipelineError: huggingface_hub is not installed.
    """

    def __init__(self, repository: str, revision: str) -> None:
        extras.require("hub", "huggingface_hub")
        from huggingface_hub import HfApi, constants

        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it reports each folder that needs no upload
        self.repository, self.revision = repository, revision
        self.endpoint = constants.ENDPOINT
        self._api = HfApi(library_name="rank-shards")
        self._where: dict[str, Any] = {"repo_id": repository, "repo_type": "dataset"}

    @property
    def page(self) -> str:
        """The address of the dataset."""
        return f"{self.endpoint}/datasets/{self.repository}"

    def publication(self, date: str) -> dict[str, str]:
        """Returns the value of ``published`` in the copy's manifest."""
        return {"repository": self.repository, "revision": self.revision, "url": self.page, "date": date}

    def log_in(self) -> None:
        """Checks that there is a token, and that its user may write for the owner. Raises PipelineError."""
        from huggingface_hub import get_token

        with self._errors("reading whose token this is"):
            token = get_token()
            if token is None:
                raise PipelineError(
                    "there is no token: set HF_TOKEN, or run 'hf auth login', with a token that may write"
                )
            if not (token.isascii() and token.isprintable()):  # it could not be sent
                raise PipelineError(
                    "the token is not valid: it has characters that no token has; set HF_TOKEN, or run 'hf auth login' again"
                )
            user = self._api.whoami()
        owner, name = self.repository.partition("/")[0], str(user.get("name"))
        owners = {name, *(str(org.get("name")) for org in user.get("orgs") or [])}
        if owner.lower() not in {each.lower() for each in owners}:
            raise PipelineError(
                f"{self.repository} would belong to {owner}, but the token is that of {name}, who is no member of an "
                f"organization of this name; allowed: {', '.join(sorted(owners))}"
            )

    def create(self, private: bool) -> None:
        """Creates the dataset and the branch, if they do not exist.

        Raises:
            PipelineError: the Hub refuses it, or the dataset exists and is public although ``private`` was asked for.
        """
        with self._errors("creating the dataset"):
            if not self._api.repo_exists(**self._where):
                self._api.create_repo(**self._where, private=private or None, exist_ok=True)
            if private and not self._api.repo_info(**self._where).private:
                raise PipelineError(
                    f"--private: {self.repository} exists and is public; change it on its page, or choose another name"
                )
            if self.revision != "main":
                self._api.create_branch(**self._where, branch=self.revision, exist_ok=True)

    def check_foreign_files(self, manifest: dict[str, Any]) -> None:
        """Checks that the dataset holds no tars of another output, which readers would mix with those of this one.

        Raises:
            PipelineError: it does.
        """
        expected = manifest["files"].keys()
        folders = tuple(f"{variant['folder']}/" for variant in manifest["variants"].values())
        foreign = [
            file.path
            for file in self._files()
            if file.path not in expected
            and (
                file.path.endswith(".tar") or (file.path.startswith(folders) and not file.path.endswith(croissant.NAME))
            )
        ]
        if foreign:
            raise PipelineError(
                f"{self.repository} holds {foreign[0]} ({len(foreign)} such files), which is not of this output; delete it "
                "on the Hub, or publish under another name or --revision"
            )

    def _files(self) -> list["RepoFile"]:
        from huggingface_hub.hf_api import RepoFile

        with self._errors("listing the dataset"):
            tree = self._api.list_repo_tree(**self._where, revision=self.revision, recursive=True)
            return [entry for entry in tree if isinstance(entry, RepoFile)]

    def manifest(self) -> bytes | None:
        """Returns the manifest that the dataset holds; None if it holds none."""
        from huggingface_hub.errors import EntryNotFoundError

        with self._errors("reading its manifest"), tempfile.TemporaryDirectory() as folder:
            try:
                path = self._api.hf_hub_download(**self._where, filename=NAME, revision=self.revision, cache_dir=folder)
            except EntryNotFoundError:
                return None
            return Path(path).read_bytes()

    def date_of(self, manifest: dict[str, Any], held: bytes | None) -> str | None:
        """Returns the date of a dataset that is this output, published at this place before; else None.

        Args:
            manifest: of the output.
            held: the manifest that the dataset holds.
        """
        try:
            published = json.loads(held or b"{}")
            date = str(published["published"]["date"])
            same = all(published[key] == manifest[key] for key in manifest if key not in ("files", "published"))
        except (ValueError, KeyError, TypeError):
            return None
        return date if same and published["published"] == self.publication(date) else None

    def retract(self) -> None:
        """Deletes the dataset's manifest before it changes: a dataset with a manifest is complete."""
        with self._errors("deleting its old manifest"):
            self._api.delete_file(
                NAME, **self._where, revision=self.revision, commit_message="Another version is being uploaded"
            )

    def upload(self, copy: Copy, folder: str, names: list[str], progress: bool) -> None:
        """Uploads files of one folder. What the dataset already holds is not uploaded again. Raises PipelineError."""
        from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars

        (enable_progress_bars if progress else disable_progress_bars)()
        with tempfile.TemporaryDirectory() as root, self._errors(f"uploading {folder or 'the files at the root'}"):
            self._api.upload_folder(
                **self._where,
                folder_path=copy.stage(folder, names, Path(root)),
                path_in_repo=folder,
                revision=self.revision,
                commit_message=f"Add {folder or 'descriptions'}",
            )

    def compare(self, copy: Copy) -> list[str]:
        """Returns the files that are missing in the dataset, or that have another size or hash there."""
        present = {file.path: file for file in self._files()}
        wrong = []
        for name, file in copy.files.items():
            reported = present.get(name)
            if reported is None or reported.size != file.size:
                wrong.append(name)
                continue
            kind, digest = _claim(reported)
            expected = file.sha256 if kind == "sha256" else _git_hash(copy.read(name))
            if digest != expected:
                wrong.append(name)
        return wrong

    @contextlib.contextmanager
    def _errors(self, task: str) -> Iterator[None]:
        """Turns errors of huggingface_hub into one line. None of them holds the token."""
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

        try:
            yield
        except PipelineError:
            raise
        except OfflineModeIsEnabled:
            raise PipelineError(f"{task}: HF_HUB_OFFLINE is set; unset it to publish") from None
        except HfHubHTTPError as error:
            raise PipelineError(one_line(f"{task}: {self._answer(error)}")) from None
        except (OSError, RuntimeError, ValueError) as error:
            raise PipelineError(one_line(f"{task}: {_reason(error)}; the same command continues")) from None
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in ("httpx", "httpx2", "httpcore", "httpcore2"):
                raise
            raise PipelineError(
                one_line(f"{task}: {self.endpoint} cannot be reached ({_reason(error)}); the same command continues")
            ) from None

    def _answer(self, error: Any) -> str:
        """Returns what a refusal of the Hub means."""
        status = error.response.status_code
        owner = self.repository.partition("/")[0]
        meaning = {
            401: "the token is not valid; set HF_TOKEN, or run 'hf auth login' again",
            402: f"{owner} has no space left, or must pay for it",
            403: f"the token may not write to {self.repository}: it belongs to somebody else, or the token may only read",
            404: f"{self.repository} or its owner {owner} does not exist, or the token may not see it",
            429: "too many requests; wait some minutes, the same command continues",
        }.get(status)
        if meaning:
            return meaning
        text = error.server_message or "no reason given"
        return f"the Hub answered {status} ({text}); the same command continues"


def _claim(file: "RepoFile") -> tuple[str, str]:
    """Returns the kind of hash that the Hub reports of a file, and the hash: SHA-256 of large files, else git's of blobs."""
    return ("sha256", file.lfs.sha256) if file.lfs else ("git", file.blob_id)


def _git_hash(content: bytes) -> str:
    """Returns git's SHA-1 of a blob."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _reason(error: BaseException) -> str:
    """Returns the innermost reason of an error. The address of a refused upload is left out: it may be signed."""
    while error.__cause__ is not None:
        error = error.__cause__
    response = getattr(error, "response", None)
    if response is not None:
        return f"the server of the files answered {response.status_code}"
    return f"{type(error).__name__}: {error}"
