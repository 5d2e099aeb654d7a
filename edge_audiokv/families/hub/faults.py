"""What went wrong between the hub and here, in the words of a person who wants the checkpoint."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from edge_audiokv.errors import DownloadError, EdgeAudioKVError
from edge_audiokv.families.hub.name import HubName

_LOGIN = "run `hf auth login`, or set HF_TOKEN"


class Unreachable(DownloadError):
    """Nobody answers: what lies in the cache may do."""


@contextmanager
def told(name: HubName) -> Iterator[None]:
    """Whatever the hub's client raises within, as DownloadError."""
    from huggingface_hub import errors

    try:
        yield
    except (EdgeAudioKVError, MemoryError):
        raise
    except errors.GatedRepoError:
        raise DownloadError(
            f"{name.repository} is given only to who has accepted its terms.",
            cure=f"Accept them on its page of the hub, then {_LOGIN}.",
        ) from None
    except errors.RepositoryNotFoundError:
        raise DownloadError(
            f"There is no folder {name}, and the hub shows no {name.repository}.",
            cure=f"Check the name; if it is private, {_LOGIN}.",
        ) from None
    except errors.RevisionNotFoundError:
        raise DownloadError(
            f"{name.repository} has no revision {name.revision}.",
            cure="Give a branch, a tag or a commit of it after the @.",
        ) from None
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        raise _answered(name, status) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DownloadError(
                f"The disk of the hub's cache is full: {error.strerror}.",
                cure="Free some space, or set HF_HOME to a folder on another disk.",
            ) from None
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise DownloadError(
                f"Cannot write to the hub's cache: {error.strerror}.",
                cure="Set HF_HOME to a folder that you may write.",
            ) from None
        raise _unreachable(name, error) from None
    except Exception as error:  # the kinds of its HTTP client change with its version
        raise _unreachable(name, error) from None


def _answered(name: HubName, status: int | None) -> DownloadError:
    if status in (401, 403):
        return DownloadError(
            f"The hub does not let you read {name.repository} ({status}).",
            cure=f"For what is private or gated, {_LOGIN}.",
        )
    kind = Unreachable if status is None or status >= 500 else DownloadError
    return kind(f"The hub answered {status or 'nothing'} for {name}.", cure="Try again in a while.")


def _unreachable(name: HubName, error: Exception) -> Unreachable:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return Unreachable(
        f"{name} cannot be had from the hub: {lines[0].rstrip('.')}.",
        cure="Check the network (and HF_ENDPOINT, if it is set), or give a local folder.",
    )
