"""One fuzzing process of libFuzzer: ``python -m tests.fuzz.target PARSER CORPUS FINDINGS SECONDS``."""

import hashlib
import random
import sys
import traceback
from pathlib import Path

import atheris

from tests.fuzz import harness, mutate

# What else is covered: the readers in Python that hostile input really meets.
_MORE = {"images": ("PIL",), "job_file": ("yaml",), "weights": ("torch._weights_only_unpickler",)}

# numba cannot compile what has been instrumented.
_LOOPS = [f"pipeline.verification.shards.{part}" for part in ("complement", "moments", "unfilter")]
_KERNELS = [f"pipeline.numerics.{part}" for part in ("eigenvalues", "large", "rounding", "small")]
_COMPILED = [*_KERNELS, *_LOOPS]


def main(name: str, corpus: str, findings: Path, seconds: str) -> None:
    covered = ["pipeline", *_MORE.get(name, ())]
    with atheris.instrument_imports(include=covered, exclude=_COMPILED, enable_loader_override=False):
        target = harness.load(name)
        list(target.seeds())  # what they import, build and compile is no input's time

    written = set()

    def try_input(data: bytes) -> None:
        try:
            harness.trial(target, data)
        except (Exception, harness.Broken) as error:
            place = _place(error)
            finding = findings / hashlib.sha256(place.encode()).hexdigest()[:12]
            if finding not in written:
                written.add(finding)
                finding.with_suffix(".txt").write_text(f"{place}\n\n{''.join(traceback.format_exception(error))}")
                finding.write_bytes(data)

    def mutate_json(data: bytes, most: int, seed: int) -> bytes:
        rng = random.Random(seed)
        return mutate.of_json(data, rng)[:most] if rng.random() < 0.7 else atheris.Mutate(data, most)

    options = [f"-max_total_time={seconds}", f"-max_len={harness.LONGEST}", "-print_final_stats=1", "-timeout=120"]
    limits = ["-rss_limit_mb=3000", f"-artifact_prefix={findings}/", "-reduce_inputs=0", "-len_control=0"]
    more = {"custom_mutator": mutate_json} if target.JSON else {}
    atheris.Setup([sys.argv[0], corpus, *options, *limits], try_input, **more)
    atheris.Fuzz()


def _place(error: BaseException) -> str:
    """What tells findings apart: the error's type, and where in the project it arose."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/pipeline/" in frame.filename]
    at = f"{Path(frames[-1].filename).name}, {frames[-1].name}: {frames[-1].line}" if frames else "harness"
    return f"{type(error).__name__} in {at}"


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4])
