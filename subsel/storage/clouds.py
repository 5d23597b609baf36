"""The storages that Arrow reaches by itself, with their usual environment and options."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow.fs as pafs

from subsel.errors import InputError, MissingPackageError
from subsel.storage.faults import why

Options = dict[str, Any]

_CONNECT_SECONDS = 5
_ATTEMPTS = 3
_RETRY_SECONDS = 10

#: Other names of options, as fsspec, polars and the environment have them.
_S3_NAMES = {
    **dict.fromkeys(("key", "aws_access_key_id", "access_key_id", "username"), "access_key"),
    **dict.fromkeys(("secret", "aws_secret_access_key", "secret_access_key", "password"), "secret_key"),
    **dict.fromkeys(("token", "aws_session_token"), "session_token"),
    **dict.fromkeys(("endpoint_url", "endpoint", "aws_endpoint_url", "aws_endpoint"), "endpoint_override"),
    **dict.fromkeys(("region_name", "aws_region", "aws_default_region"), "region"),
    **dict.fromkeys(("anon", "skip_signature", "aws_skip_signature"), "anonymous"),
    "aws_allow_http": "allow_http",
}
_S3_OWN = (
    *("access_key", "secret_key", "session_token", "endpoint_override", "region", "anonymous", "scheme", "allow_http"),
    *("role_arn", "session_name", "external_id", "load_frequency", "proxy_options", "connect_timeout"),
    *("request_timeout", "force_virtual_addressing", "tls_ca_file_path", "background_writes", "default_metadata"),
)
_GS_NAMES = {"project": "project_id", "endpoint_url": "endpoint_override", "anon": "anonymous"}
_GS_OWN = (
    *("anonymous", "access_token", "target_service_account", "credential_token_expiration", "scheme"),
    *("endpoint_override", "default_metadata", "retry_time_limit", "project_id", "default_bucket_location"),
)
_AZURE_NAMES = {
    **dict.fromkeys(("azure_storage_account_name", "account"), "account_name"),
    **dict.fromkeys(("azure_storage_account_key", "azure_storage_key"), "account_key"),
    **dict.fromkeys(("azure_storage_sas_token", "sas_key"), "sas_token"),
    **dict.fromkeys(("azure_storage_client_id", "azure_client_id"), "client_id"),
    **dict.fromkeys(("azure_storage_client_secret", "azure_client_secret"), "client_secret"),
    **dict.fromkeys(("azure_storage_tenant_id", "azure_tenant_id"), "tenant_id"),
}
_AZURE_OWN = (
    *("account_name", "account_key", "blob_storage_authority", "blob_storage_scheme", "client_id", "client_secret"),
    *("dfs_storage_authority", "dfs_storage_scheme", "sas_token", "tenant_id"),
)
_HDFS_OWN = ("user", "replication", "buffer_size", "default_block_size", "kerb_ticket", "extra_conf")

_made: dict[tuple[str, ...], pafs.FileSystem] = {}


def filesystem(scheme: str, authority: str, chosen: Options, shown: str) -> pafs.FileSystem:
    """Return the filesystem of an address.

    Args:
        scheme: a key of `CLOUDS`.
        authority: what stands between the slashes: a bucket, container@account, host:port.
        chosen: options, see `named`.
        shown: what messages call the address.

    Raises:
        InputError: the storage refuses or cannot be reached.
        MissingPackageError: this pyarrow was built without that storage.
    """
    surroundings = [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith(_ENVIRONMENT)]
    known = (scheme, authority, repr(sorted(chosen.items(), key=lambda item: item[0])), *surroundings)
    if known not in _made:
        try:
            _made[known] = CLOUDS[scheme][2](authority, dict(chosen))
        except (ImportError, AttributeError) as error:
            raise MissingPackageError(
                f"{shown}: this pyarrow was built without {scheme}://: pip install --upgrade pyarrow."
            ) from error
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{shown} cannot be opened: {why(error)}.") from error
    return _made[known]


_ENVIRONMENT = ("AWS_", "GOOGLE_", "AZURE_", "STORAGE_EMULATOR")


def named(scheme: str, options: Mapping[str, Any]) -> Options:
    """Return storage options in Arrow's names.

    Raises:
        InputError: one is unknown.
    """
    names, own, _ = CLOUDS[scheme]
    flat: Options = {}
    for name, value in options.items():
        flat |= dict(value) if name == "client_kwargs" and isinstance(value, Mapping) else {name: value}
    chosen = {names.get(name.lower(), name.lower()): value for name, value in flat.items() if value is not None}
    for name in chosen:
        if name not in own:
            raise InputError(f"storage option {name!r} is unknown for {scheme}://: known are {', '.join(own)}.")
    return chosen


def _truth(value: Any) -> bool:
    return value if isinstance(value, bool) else str(value).lower() in ("1", "true", "yes")


def _split(endpoint: str, chosen: Options) -> None:
    """Take an endpoint apart, as Arrow wants it."""
    scheme, found, host = endpoint.rstrip("/").partition("://")
    chosen["endpoint_override"] = host if found else scheme
    if found:
        chosen["scheme"] = scheme.lower()


def _s3(bucket: str, chosen: Options) -> pafs.FileSystem:
    """Return S3, or what speaks like it, without asking the network where an endpoint or a region is given."""
    environment = os.environ
    endpoint = chosen.get("endpoint_override") or environment.get("AWS_ENDPOINT_URL_S3")
    endpoint = endpoint or environment.get("AWS_ENDPOINT_URL")
    if endpoint:
        _split(endpoint, chosen)
    if _truth(chosen.pop("allow_http", False)) and "://" not in str(endpoint):
        chosen["scheme"] = "http"
    region = chosen.get("region") or environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    if region is None:
        region = "us-east-1" if endpoint else pafs.resolve_s3_region(bucket)
    if "access_key" in chosen or not _truth(chosen.get("anonymous", False)):
        chosen.pop("anonymous", None)
    else:
        chosen["anonymous"] = True
    settings = {
        "connect_timeout": _CONNECT_SECONDS,
        "retry_strategy": pafs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
        **chosen,
        "region": region,
    }
    return pafs.S3FileSystem(**settings)


def _gs(bucket: str, chosen: Options) -> pafs.FileSystem:
    from datetime import timedelta  # noqa: PLC0415  (one user)

    endpoint = chosen.get("endpoint_override") or os.environ.get("STORAGE_EMULATOR_HOST")
    if endpoint:
        _split(endpoint, chosen)
    if "anonymous" in chosen:
        chosen["anonymous"] = _truth(chosen["anonymous"])
    return pafs.GcsFileSystem(**{"retry_time_limit": timedelta(seconds=_RETRY_SECONDS), **chosen})


def _azure(authority: str, chosen: Options) -> pafs.FileSystem:
    """Return Azure's storage: ``container@account.dfs.core.windows.net``, or a container of the account given."""
    environment = os.environ
    _, named, host = authority.partition("@")
    if named:
        chosen["account_name"] = host.partition(".")[0]
    for option, names in (
        ("account_name", ("AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME")),
        ("account_key", ("AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY")),
        ("sas_token", ("AZURE_STORAGE_SAS_TOKEN",)),
    ):
        value = next((environment[name] for name in names if environment.get(name)), None)
        if option not in chosen and value and not (option != "account_name" and "client_id" in chosen):
            chosen[option] = value
    if "account_key" in chosen:
        chosen.pop("sas_token", None)  # Arrow takes one of them
    if "account_name" not in chosen:
        raise ValueError("no account: write abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/, or set account_name")
    return pafs.AzureFileSystem(**chosen)


def _hdfs(authority: str, chosen: Options) -> pafs.FileSystem:
    user, _, host = authority.rpartition("@")
    name, _, port = host.partition(":")
    if user:
        chosen.setdefault("user", user)
    return pafs.HadoopFileSystem(name or "default", int(port or 0), **chosen)


def _viewfs(authority: str, chosen: Options) -> pafs.FileSystem:
    return pafs.HadoopFileSystem(f"viewfs://{authority}", 0, **chosen)


#: By scheme: other names of options, Arrow's own, and what makes the filesystem.
CLOUDS: dict[str, tuple[Mapping[str, str], tuple[str, ...], Callable[[str, Options], pafs.FileSystem]]] = {
    "s3": (_S3_NAMES, _S3_OWN, _s3),
    "gs": (_GS_NAMES, _GS_OWN, _gs),
    "abfss": (_AZURE_NAMES, _AZURE_OWN, _azure),
    "hdfs": ({}, _HDFS_OWN, _hdfs),
    "viewfs": ({}, _HDFS_OWN, _viewfs),
}
