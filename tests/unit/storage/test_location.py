"""Promises of --out: a folder or a URL. For a misspelled URL, the message suggests the likely one."""

from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.export import main as export
from pipeline.planning.job import Job
from pipeline.storage.location import copy_command, parse_url
from pipeline.verify import main as verify
from tests.unit.planning.test_job import job


@pytest.mark.parametrize(
    "text", ["out", "out/x", "/a/b", "./s3:/x", "a:b", "C:/x", "~/x", "gs", "s3", "s3/bucket", "~"]
)
def test_a_path_stays_a_path(text: str) -> None:
    assert parse_url("out", text) is None
    assert isinstance(job(out=text).out, Path)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("s3://bucket/out", "s3://bucket/out"),
        (" s3://bucket/out/ ", "s3://bucket/out"),
        ("s3://my.bucket-1/a/b_c/d=1,e.x", "s3://my.bucket-1/a/b_c/d=1,e.x"),
        ("gs://my_bucket/out//", "gs://my_bucket/out"),
    ],
)
def test_a_url_is_taken_without_its_last_slash(text: str, url: str) -> None:
    assert job(out=text).out == url


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("s3:/bucket/out", "out: 's3:/bucket/out' is no URL, did you mean 's3://bucket/out'?"),
        ("s3:bucket/out", "out: 's3:bucket/out' is no URL, did you mean 's3://bucket/out'?"),
        ("s3//bucket/out", "out: 's3//bucket/out' is no URL, did you mean 's3://bucket/out'?"),
        ("ss3://bucket/out", "out: 'ss3://bucket/out': unknown protocol 'ss3', did you mean 's3'?; known: s3, gs"),
        ("S3://bucket/out", "out: 'S3://bucket/out': unknown protocol 'S3', did you mean 's3'?; known: s3, gs"),
        ("gcs://bucket/out", "out: 'gcs://bucket/out': unknown protocol 'gcs', did you mean 'gs'?; known: s3, gs"),
        ("https://bucket/x", "out: 'https://bucket/x': unknown protocol 'https'; known: s3, gs"),
        ("file:///tmp/x", "out: a folder is written as its path, without file://"),
        ("s3://", "out: 's3://': '' is no name of a bucket; write s3://bucket/prefix"),
        ("s3:///out", "out: 's3:///out': '' is no name of a bucket; write s3://bucket/prefix"),
        ("s3://Bucket/out", "out: 's3://Bucket/out': 'Bucket' is no name of a bucket; write s3://bucket/prefix"),
        ("s3://bucket", "out: 's3://bucket' is a whole bucket; name a prefix in it, as in s3://bucket/out"),
        ("s3://bucket//x", "out: 's3://bucket//x': '' cannot be part of a prefix; use letters, digits, '-', '_'"),
        ("s3://bucket/a/../b", "out: 's3://bucket/a/../b': '..' cannot be part of a prefix; use letters, digits, "),
        ("s3://bucket/a*", "out: 's3://bucket/a*': 'a*' cannot be part of a prefix; use letters, digits, '-', '_'"),
        ("s3://bucket/a?b", "out: 's3://bucket/a?b': 'a?b' cannot be part of a prefix; use letters, digits, '-', '_'"),
        ("s3://bucket/a b", "out: 's3://bucket/a b': 'a b' cannot be part of a prefix; use letters, digits, '-', '_'"),
    ],
)
def test_an_impossible_url_is_refused(text: str, line: str) -> None:
    with pytest.raises(UsageError) as caught:
        job(out=text)
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIA:hush@bucket/out",
        "s3://AKIA:hush/more@bucket/out",
        "s3:AKIA:hush@bucket/out",
        "https://AKIA:hush@bucket/out",
        "https://hush@bucket/out",
    ],
)
def test_credentials_in_a_url_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UsageError, match="carries no credentials") as caught:
        Job.parse({"ranks": "3", "out": url})
    assert "hush" not in str(caught.value)


def test_export_says_how_to_copy(capsys: pytest.CaptureFixture[str]) -> None:
    assert export(["s3://bucket/out", "--variant", "rank3", "--to", "x"]) == 2
    assert "s3://bucket/out is in object storage; export a copy, as made by: aws s3 sync " in capsys.readouterr().err


def test_verify_says_how_to_copy(capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(["s3://bucket/out"]) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: s3://bucket/out is in object storage; verify a copy")
    assert line.endswith("aws s3 sync s3://bucket/out COPY --exclude '.build/*'\n")
    assert copy_command("gs://bucket/out", "x") == "gcloud storage rsync -r gs://bucket/out x"
