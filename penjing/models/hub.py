"""Where a checkpoint's files are: a folder on disk, or a copy of one from the Hugging Face hub."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from penjing.errors import BadFile

# Pickles run code when they are read, so they are not even fetched.
_WANTED = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]
# The same weights a second time, in the layout of those who published them.
_TWICE = ["original/*", "consolidated*"]
_REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
_PATIENCE_SECONDS = 10.0


def checkpoint_folder(name_or_path: str) -> Path:
    """The folder given, or the local copy of ``owner/name``, fetched where it is not there yet.

    What lies on disk wins over the hub. Without a network a copy fetched before will do. Raises
    ``BadFile``, in one line, for what is neither, and for a hub that does not answer.
    """
    path = os.path.expanduser(name_or_path)
    if os.path.isdir(path):
        return Path(path)
    if os.path.exists(path):
        raise BadFile(f"{name_or_path} is a file; give the folder that it lies in")
    if not _REPOSITORY.fullmatch(name_or_path):
        raise BadFile(
            f"{name_or_path!r} does not exist; give the folder of a checkpoint, or the owner/name "
            "of one on the Hugging Face hub"
        )
    return _from_hub(name_or_path)


def json_object(folder: Path, name: str) -> Mapping[str, object] | None:
    """What a JSON file of the checkpoint holds, None where there is no such file; ``BadFile``."""
    file = folder / name
    if not file.exists():
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadFile(f"{file} cannot be read: {error.strerror}; repair or remove it") from None
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{file} is not usable JSON: {error}; fetch it again") from None
    if not isinstance(found, dict):
        raise BadFile(f"{file} holds a {type(found).__name__}; it must hold one object")
    return found


def _from_hub(name: str) -> Path:
    try:
        import huggingface_hub
    except ImportError:
        raise BadFile(
            f"{name} is not a folder here, and to fetch it takes the package huggingface_hub; "
            "install that, or give a folder"
        ) from None
    try:
        answers = _answers(name)
        found = huggingface_hub.snapshot_download(
            name,
            allow_patterns=_WANTED,
            ignore_patterns=_TWICE,
            etag_timeout=_PATIENCE_SECONDS,
            local_files_only=not answers,
        )
    # Whatever is in the way of a download (names, rights, network, disk) has types of its own.
    except Exception as error:
        raise BadFile(_why(name, error)) from None
    return Path(found)


def _answers(name: str) -> bool:
    """Whether the hub answers, asked with a limit: the download itself may wait for minutes."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    try:
        HfApi().model_info(name, timeout=_PATIENCE_SECONDS)
    except (RepositoryNotFoundError, HFValidationError):
        raise
    # No network, a proxy, a hub that is down or switched off: a copy from before may do.
    except Exception:
        return False
    return True


def _why(name: str, error: Exception) -> str:
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    if isinstance(error, GatedRepoError):
        return (
            f"{name} on the Hugging Face hub is open only to those who accepted its terms; accept "
            "them there and set HF_TOKEN, or give a folder"
        )
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"{name} is neither a folder here nor a public model of the Hugging Face hub; check "
            "the name, or set HF_TOKEN for a private one"
        )
    if isinstance(error, LocalEntryNotFoundError):
        return (
            f"{name} is not a folder here, and the Hugging Face hub cannot be reached; give the "
            "folder of a checkpoint, set HF_HOME to a cache that holds a copy, or unset "
            "HF_HUB_OFFLINE where it is set"
        )
    what = (str(error).splitlines() or [""])[0] or type(error).__name__
    return f"{name} could not be fetched from the Hugging Face hub: {what}; try again"
