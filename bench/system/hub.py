"""Files of huggingface.co, pinned to a commit: an address that always gives the same bytes."""

from __future__ import annotations

from bench.errors import BenchError

SITE = "https://huggingface.co"


def page(repository: str) -> str:
    """Return the address of a repository's page; a commit behind @ is left out."""
    return f"{SITE}/{repository.partition('@')[0]}"


def commit_of(repository: str, label: str) -> str:
    """Return the commit (40 hex digits) that OWNER/NAME@COMMIT names, or the newest of OWNER/NAME.

    The newest is asked for; `label` begins the error where that fails.
    """
    name, _, commit = repository.partition("@")
    if commit:
        return commit
    from huggingface_hub import HfApi

    try:
        newest = HfApi().model_info(name, timeout=20).sha
    except Exception as error:  # of the hub's, of its web client, of the system
        reason = " ".join(str(error).split()).partition(". ")[0][:200] or type(error).__name__
        raise BenchError(
            f"{label}: the newest commit of {page(name)} cannot be read ({reason}); download the "
            "file on a machine with access, and give --weights PATH."
        ) from error
    if newest is None:
        raise BenchError(
            f"{label}: {page(name)} names no commit; download the file and give --weights PATH."
        )
    return newest


def address(repository: str, file: str, commit: str) -> str:
    """Return the address of a file at a commit."""
    from huggingface_hub import hf_hub_url

    return hf_hub_url(repository.partition("@")[0], file, revision=commit)
