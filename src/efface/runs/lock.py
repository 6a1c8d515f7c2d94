"""One process at a time works in a run folder: a lock of the system, which dies with its holder."""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from accelerate import PartialState

from efface.errors import RequestError

LOCK = ".lock"  # a file of the run folder while a process works there


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder, which is made where there is none, and goes again if it stays empty.

    RequestError where another process holds it. On a file system without locks nothing is held.
    Of several processes of a run the main one holds it for all.
    """
    if not PartialState().is_main_process:
        yield
        return
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _take(folder)
    except OSError as error:
        raise RequestError(
            f"{folder} cannot be written ({error.strerror}): give another folder."
        ) from error
    try:
        yield
    finally:
        (folder / LOCK).unlink(missing_ok=True)
        os.close(descriptor)
        if made:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _take(folder: Path) -> int:
    """The descriptor of the lock file; RequestError where another process has locked it."""
    while True:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), (folder / LOCK).stat()):
                return descriptor
        except FileNotFoundError:
            pass  # its holder ended in between, and took the file away
        except BlockingIOError:
            os.close(descriptor)
            raise RequestError(
                f"{folder} is in use: another process of efface works there. Wait for its end or "
                "stop it, or give another folder."
            ) from None
        except OSError as error:
            if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
                return descriptor
            os.close(descriptor)
            raise
        os.close(descriptor)
