"""One process at a time works in a run folder: a lock of the system, which dies with its holder."""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from accelerate import PartialState
from filelock import FileLock, Timeout

from efface.errors import RequestError
from efface.runs.place import LOCK

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder, which is made where there is none, and goes again if it stays empty.

    RequestError where another process holds it. On a file system without locks a file stands for
    one. Of several processes of a run the main one holds it for all.
    """
    if not PartialState().is_main_process:
        yield
        return
    made, lock = not folder.exists(), FileLock(folder / LOCK, blocking=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise RequestError(
            f"{folder} is in use: another process of efface works there. Wait for its end or "
            "stop it, or give another folder."
        ) from None
    except (OSError, NotImplementedError) as error:  # the latter where there is no flock
        if isinstance(error, OSError) and error.errno not in NO_LOCKS:
            raise RequestError(
                f"{folder} cannot be written ({error.strerror}): give another folder."
            ) from error
    try:
        yield
    finally:
        (folder / LOCK).unlink(missing_ok=True)
        lock.release()
        if made:
            with contextlib.suppress(OSError):
                folder.rmdir()
