"""Objects are written as git writes them: to a file of their own, then renamed into place.

dulwich locks the object's own name instead. A kill leaves that lock, and then the same object, which comes
again with the same work, can never be written; two threads that write one object at once fail as well.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from types import MethodType

from dulwich.object_store import DiskObjectStore
from dulwich.objects import ShaFile
from dulwich.repo import Repo


def write_without_locks(repo: Repo) -> None:
    """Make everything that is added to this open repository, also by dulwich itself, go by `add`."""
    repo.object_store.add_object = MethodType(add, repo.object_store)  # type: ignore[method-assign]


def add(store: DiskObjectStore, obj: ShaFile) -> None:
    """Add one object; one that is there is only marked as used, so that no gc takes it."""
    name = obj.id.decode()
    folder = Path(os.fsdecode(store.path))
    place = folder / name[:2] / name[2:]
    with contextlib.suppress(FileNotFoundError, PermissionError):
        os.utime(place)
        return
    place.parent.mkdir(exist_ok=True)
    # `git prune` knows this name as that of a file which somebody did not finish.
    draft = folder / f"tmp_obj_ve_{secrets.token_hex(8)}"
    try:
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
        with os.fdopen(fd, "wb") as file:
            file.write(obj.as_legacy_object(compression_level=store.loose_compression_level))
            file.flush()
            if store.fsync_object_files:
                os.fsync(file.fileno())
        draft.rename(place)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
