"""The bucket that files are kept in, as the settings S3_... say."""

from __future__ import annotations

from typing import Any

from common.env import SettingError
from odata.observability import installed


def bucket(env: dict[str, Any], problems: list[SettingError]) -> dict[str, Any] | None:
    """Django's settings for the file store in a bucket; None where none is named, or can't be used: then `problems`
    has the reason. Without keys, boto3 looks for some where it always does, such as the machine's role."""
    if not env["S3_BUCKET"]:
        return None
    if not installed("storages.backends.s3") or not installed("boto3"):
        problem = "needs django-storages and boto3: `pip install -r requirements-extras.txt`, or unset it"
        problems.append(SettingError("S3_BUCKET", problem))
        return None
    if bool(env["S3_ACCESS_KEY_ID"]) != bool(env["S3_SECRET_ACCESS_KEY"]):
        problem = "and S3_SECRET_ACCESS_KEY belong together: set both, or neither to use the role of the machine"
        problems.append(SettingError("S3_ACCESS_KEY_ID", problem))
        return None
    options = {
        "bucket_name": env["S3_BUCKET"],
        "endpoint_url": env["S3_ENDPOINT_URL"],
        "region_name": env["S3_REGION"],
        "access_key": env["S3_ACCESS_KEY_ID"],
        "secret_key": env["S3_SECRET_ACCESS_KEY"],
    }
    return {
        "BACKEND": "common.s3_store.S3FileStore",
        "OPTIONS": {name: value for name, value in options.items() if value},
    }
