"""Renames that never replace, and renames that exchange: what Linux has and Python's os does not."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

_AT_FDCWD = -100
_NOREPLACE = 1
_EXCHANGE = 2
#: What kernels, C libraries and file systems answer that lack a flag.
_LACKING = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM, errno.ENOTTY)


def _renameat2(source: Path, target: Path, flag: int) -> bool:
    """Rename with a flag; return False where that is lacking.

    Raises:
        OSError: it was refused.
    """
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:  # macOS, musl
        return False
    if call(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flag) == 0:
        return True
    number = ctypes.get_errno()
    if number in _LACKING:
        return False
    raise OSError(number, os.strerror(number), str(source), None, str(target))


def exchange(one: Path, other: Path) -> bool:
    """Exchange two files or folders at one moment; return False where kernel or file system cannot."""
    return _renameat2(one, other, _EXCHANGE)


def rename_new(source: Path, target: Path) -> None:
    """Move a file or folder to where nothing is.

    Without RENAME_NOREPLACE a file is linked and unlinked, which is as exclusive; a folder is renamed, which POSIX
    lets replace an empty folder at most. Only a file on a file system without links can replace one that appears
    between the look and the rename.

    Raises:
        FileExistsError: something is there.
        OSError: it was refused.
    """
    if _renameat2(source, target, _NOREPLACE):
        return
    if not source.is_dir():
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in _LACKING:
                raise
        else:
            source.unlink()
            return
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    try:
        source.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.ENOTDIR, errno.EEXIST):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
        raise
