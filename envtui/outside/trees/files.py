"""Reading a tree's files: once, without following a link, from a place that only its owners can write."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec

from envtui.core.errors import Problem, Unsound
from envtui.core.tree import Tree

MAX_CONTENT = 16 * 1024 * 1024
"""Bytes at most of a file that a step may send. Larger things are artifacts."""

MAX_DEPTH = 32
"""Folders in one another, at most."""

NO_FILE, FILES_ONLY = "not a file.", "A tree holds files and folders."
_HASHED_ONLY = ("artifacts/", "evidence/")


class Content(msgspec.Struct, frozen=True):
    """One file, read once. `content` is empty for artifacts and evidence, which are hashed and not kept."""

    sha256: str
    size: int
    content: bytes
    inode: tuple[int, int]


def unchanged(tree: Tree, name: str) -> Path:
    """A file of the tree, for a library that reads it itself. Raises Unsound when it is not what was read and accepted."""
    file = Path(tree.root) / name
    known = tree.entries.get(name)
    try:
        found = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise Unsound(f"{tree.file(name)} cannot be read: {error.strerror}.", "Correct it, then open again.") from error
    if known is None or found != known.sha256:
        raise Unsound(
            f"{tree.file(name)} is not what it was when the environment was opened.",
            "Open the environment again: the trust screen shows what changed.",
        )
    return file


def read_files(root: str) -> tuple[dict[str, Content], list[Problem]]:
    """Every file below `root` by its relative path, and what is wrong with them. Hidden files are left out."""
    files: dict[str, Content] = {}
    problems: list[Problem] = []
    for path, entry in _walk(root, root, problems):
        try:
            descriptor = os.open(entry, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a socket
                problems.append(Problem(entry, 0, 0, NO_FILE, FILES_ONLY))
            else:
                problems.append(Problem(entry, 0, 0, f"it cannot be read: {error.strerror}."))
            continue
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                problems.append(Problem(entry, 0, 0, NO_FILE, FILES_ONLY))
                continue
            if loose := writable_by_others(status):
                problems.append(Problem(entry, 0, 0, f"{loose} may write it.", "chmod go-w it."))
            content = _read(descriptor, path, status)
        except OSError as error:
            problems.append(Problem(entry, 0, 0, f"it cannot be read: {error.strerror}."))
            continue
        finally:
            os.close(descriptor)
        if content is None:
            problems.append(
                Problem(entry, 0, 0, f"more than {MAX_CONTENT >> 20} MiB.", "Large files go to artifacts/.")
            )
            continue
        if path.startswith("artifacts/") and not path.endswith(content.sha256):
            remedy = f"Rename it so that it ends in {content.sha256}."
            problems.append(
                Problem(entry, 0, 0, "an artifact's name ends in its sha256, and this one does not.", remedy)
            )
        files[path] = content
    return files, problems


def _walk(root: str, folder: str, problems: list[Problem]) -> Iterator[tuple[str, str]]:
    """(path relative to root, path to open) of each file, in the order of their names."""
    if folder.count(os.sep) - root.count(os.sep) > MAX_DEPTH:
        problems.append(Problem(folder, 0, 0, f"more than {MAX_DEPTH} folders in one another."))
        return
    try:
        status = os.lstat(folder)
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        problems.append(Problem(folder, 0, 0, f"it cannot be read: {error.strerror}."))
        return
    if loose := writable_by_others(status):
        problems.append(Problem(folder, 0, 0, f"{loose} may write this folder.", "chmod go-w it."))
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_symlink():
            message = f"a symbolic link, to {link(entry.path)}."
            problems.append(Problem(entry.path, 0, 0, message, "A tree holds its own files: copy what you need."))
        elif entry.is_dir(follow_symlinks=False):
            yield from _walk(root, entry.path, problems)
        else:
            yield os.path.relpath(entry.path, root).replace(os.sep, "/"), entry.path


def link(path: str) -> str:
    """Where a symbolic link leads, as it is shown."""
    try:
        return repr(os.readlink(path))
    except OSError as error:
        return error.strerror or "an unknown place"


def _read(descriptor: int, path: str, status: os.stat_result) -> Content | None:
    """The content that is there now; None when it is too large to keep."""
    inode = (status.st_dev, status.st_ino)
    if path.startswith(_HASHED_ONLY):
        with os.fdopen(os.dup(descriptor), "rb") as stream:
            digest = hashlib.file_digest(stream, "sha256")
        return Content(digest.hexdigest(), status.st_size, b"", inode)
    if status.st_size > MAX_CONTENT:
        return None
    with os.fdopen(os.dup(descriptor), "rb") as stream:
        content = stream.read(MAX_CONTENT + 1)
    if len(content) > MAX_CONTENT:  # it grew since it was looked at
        return None
    return Content(hashlib.sha256(content).hexdigest(), len(content), content, inode)


def writable_by_others(status: os.stat_result) -> str:
    """Who besides the owner may write: 'other users', the name of a group, or ''.

    A group that is the owner's own (the same name, nobody else in it) is the owner: that is how Fedora and Ubuntu create
    users, with a umask that leaves every cloned file writable by it. OpenSSH in Debian draws the line in the same place.
    """
    if status.st_mode & stat.S_IWOTH:
        return "other users"
    if not status.st_mode & stat.S_IWGRP:
        return ""
    import grp
    import pwd

    try:
        group, owner = grp.getgrgid(status.st_gid), pwd.getpwuid(status.st_uid)
    except KeyError:
        return "a group"
    own = group.gr_gid == owner.pw_gid and group.gr_name == owner.pw_name and set(group.gr_mem) <= {owner.pw_name}
    return "" if own else f"the group {group.gr_name}"
