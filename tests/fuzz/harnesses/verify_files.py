"""What else ``verify`` reads: records (``--quick``), its own reports, and the file of verified parts."""

import contextlib
import hashlib
import json
from collections.abc import Iterator

from pipeline.errors import PipelineError
from pipeline.verification import report
from pipeline.verification.faults import Faults
from pipeline.verification.manifest.document import load
from pipeline.verification.quick_check import QuickResult, _check_records
from pipeline.verification.resume import _FORMAT, VerifiedParts
from tests.fuzz.place import folder, output, replaced

ALLOWED = (PipelineError,)
JSON = True
_RECORD = ".build/records/train-000000.json"


def seeds() -> Iterator[bytes]:
    yield (output() / _RECORD).read_bytes()
    moments = [["rank1", "train", 64, [1.0, 2.0, 3.0], [1.0, 2.0, 3.0], 5]]
    kept = {
        "bytes": 1,
        "samples": 4,
        "fitted": 4,
        "paired": 0,
        "recomputed": 1,
        "counts": [0, 0, 0, 0],
        "moments": moments,
    }
    yield json.dumps([_FORMAT, "part", kept]).encode()
    yield json.dumps({"kind": report.KIND, "format": report.FORMAT, "manifest_sha256": "", "faults": []}).encode()


def parse(data: bytes) -> None:
    manifest = load(output(), Faults())
    seen = QuickResult(manifest)
    with replaced(_RECORD, data):
        _check_records(seen)
    assert seen.records <= 2 and all("\n" not in str(fault) for fault in seen.faults.first)
    (folder() / "kept").write_bytes(hashlib.sha256(data).hexdigest().encode() + b" " + data + b"\n")
    kept = VerifiedParts(folder() / "kept", False, manifest)
    kept.get("part")
    kept.finish(complete=True)
    (folder() / "report.json").write_bytes(data)
    with contextlib.suppress(PipelineError):
        report.read(folder() / "report.json")
    with contextlib.suppress(ValueError, RecursionError, AttributeError):  # the same with a digest of what it says
        document = json.loads(data)
        document["sha256"] = report._digest({key: value for key, value in document.items() if key != "sha256"})
        (folder() / "report.json").write_text(json.dumps(document))
    report.check(folder() / "report.json", output())
