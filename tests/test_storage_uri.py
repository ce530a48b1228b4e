"""How a storage is read: folders and URIs as people write them, and what is refused with which rule."""

from pathlib import Path

import pytest

from detox_ray.config.storage_uri import locate


@pytest.mark.parametrize(
    ("written", "uri"),
    [
        ("s3://bucket/runs", "s3://bucket/runs"),
        ("S3://bucket/runs/", "s3://bucket/runs"),
        ("s3a://bucket//runs", "s3://bucket/runs"),
        ("gcs://my_bucket/runs", "gs://my_bucket/runs"),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket?region=eu-west-1", "s3://bucket?region=eu-west-1"),
        ("s3://bucket/a b%20+ü#1?&[x]/y", "s3://bucket/a b%20+ü#1?&[x]/y"),
        ("s3://bucket/a?/b?scheme=http", "s3://bucket/a?/b?scheme=http"),
        ("s3://bucket/a?endpoint_override=127.0.0.1%3A9", "s3://bucket/a?endpoint_override=127.0.0.1:9"),
    ],
)
def test_a_uri_of_a_bucket_is_read_as_it_is_written(written: str, uri: str) -> None:
    assert locate(written).uri == uri
    assert locate(uri) == locate(written)


@pytest.mark.parametrize("name", ["a b", "50%20", "a#1", "[x]", "{x}", "a?x=1", "a:4", "*", "ü;'\"", "s3"])
def test_a_folder_may_have_any_name(name: str, tmp_path: Path) -> None:
    assert locate(f"{tmp_path}/{name}").path == f"{tmp_path}/{name}"
    assert locate(name).path == str(Path.cwd() / name)
    assert locate(locate(name).uri) == locate(name)


def test_a_file_uri_is_percent_encoded(tmp_path: Path) -> None:
    folder = tmp_path / "a b%"
    assert locate(folder.as_uri()).path == str(folder)
    assert locate("file:/a").path == "/a"


@pytest.mark.parametrize(
    ("written", "rule"),
    [
        ("", "not be empty"),
        (" ", "not be empty"),
        ("a\nb", "control character"),
        ("\ud800", "control character"),
        ("s3:/bucket/x", "must be written s3://bucket/path"),
        ("s3:bucket/x", "must be written s3://bucket/path"),
        ("GS:///x/y", "must be written gs://bucket/path"),
        ("s3://", "names no bucket"),
        ("s3://?region=x", "names no bucket"),
        ("s3://Bucket_x/a", "'Bucket_x' cannot be a bucket"),
        ("s3://b-/a", "'b-' cannot be a bucket"),
        ("s3://key:word@bucket/a", "credentials do not belong in a URI"),
        ("s3://bucket/a/../b", "cannot hold '.' or '..'"),
        ("s3://bucket/a?secret=word", "unknown option 'secret'"),
        ("hdfs2://host/a", "hdfs2:// is not a storage"),
        ("https://bucket.s3.amazonaws.com/a", "https:// is not a storage"),
        ("file://host/a", "must name a folder on this machine"),
        ("~nobody-has-this-name/runs", "there is no user 'nobody-has-this-name'"),
    ],
)
def test_what_cannot_be_a_storage_is_refused_with_the_rule(written: str, rule: str) -> None:
    with pytest.raises(ValueError) as caught:
        locate(written)
    assert rule in str(caught.value)
    assert "word" not in str(caught.value)


def test_child_and_parent_keep_the_options() -> None:
    run = locate("s3://bucket/runs?region=x").child("mine")
    assert run.uri == "s3://bucket/runs/mine?region=x"
    assert run.parent.uri == "s3://bucket/runs?region=x"
    assert locate("s3://bucket").child("mine").parent == locate("s3://bucket")
    assert locate("/").child("mine").uri == "/mine"
