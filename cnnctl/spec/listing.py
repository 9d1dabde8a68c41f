"""The contents of a folder of images: image files, other files with the reason why they are not read, and links out of it."""

from __future__ import annotations

import contextlib
import errno
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from cnnctl.reading import open_regular, refuse_leading_away
from cnnctl.spec.image_files import IMAGE_SUFFIXES, SNIFFED, begins_as_image

SYSTEM_FOLDERS = ("__MACOSX", "@eaDir", "$RECYCLE.BIN")
"""Folders that operating systems create; like names that start with a dot, they hold no data."""

Place = tuple[str, ...]
"""The place of a file: the names of the folders below the dataset folder, and its own name."""


@dataclass(frozen=True, slots=True)
class Unread:
    """A file that is not read, with the reason in a few words, such as `.txt` or `empty`."""

    place: Place
    why: str


@dataclass
class Listing:
    """The contents of a folder and all folders below it.

    Attributes:
        images: files that are images by their suffix or their first bytes, sorted.
        unread: all other files.
        folders: all folders below it.
        away: links to images or folders outside of the folder; they must not be followed.
    """

    images: list[Place] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    folders: set[Place] = field(default_factory=set)
    away: list[Place] = field(default_factory=list)


@contextlib.contextmanager
def listings_kept() -> Iterator[None]:
    """List each folder once up to the end of the block, however often `listed` is called for it."""
    before = _kept.set({})
    try:
        yield
    finally:
        _kept.reset(before)


def listed(path: Path, follow_links: bool = False) -> Listing:
    """List a folder and all folders below it; see also `listings_kept`.

    The system returns the type of an entry with its name, so regular images need no further call.

    Args:
        path: the folder.
        follow_links: follow all links; without it, only links to places inside the folder.

    Raises:
        OSError: a folder cannot be read, or a link is broken.
    """
    kept, key = _kept.get(), (path.absolute(), follow_links)
    if kept is None:
        return _listed_now(path, follow_links)
    if key not in kept:
        kept[key] = _listed_now(path, follow_links)
    return kept[key]


def _listed_now(path: Path, follow_links: bool) -> Listing:
    found = Listing()
    _list(path, (), None if follow_links else path, (os.path.realpath(path),), found)
    found.images.sort()
    found.unread.sort(key=lambda each: each.place)
    return found


def image_files(folder: Path, within: Path) -> list[Path]:
    """Return the images in one folder, sorted by name, without those of folders below it.

    Raises:
        OSError: the folder cannot be read, or a link among the images is broken or leads out of `within`.
    """
    found = Listing()
    _list(folder, (), within, (os.path.realpath(folder),), found)
    refuse_images_away(found, folder, within)
    return [folder / place[0] for place in sorted(found.images) if len(place) == 1]


def refuse_images_away(listing: Listing, folder: Path, within: Path) -> None:
    """Raise OSError if a link with the name of an image leads out of `within`; `folder` is the listed folder."""
    for place in listing.away:
        if _is_called_an_image(place[-1]):
            refuse_leading_away(folder.joinpath(*place), within)


def _list(folder: Path, place: Place, within: Path | None, above: tuple[str, ...], found: Listing) -> None:
    """Add the contents of a folder; `above` are the real paths of the folder and its parents, to stop at a cycle of links."""
    with os.scandir(folder) as entries:
        inside = sorted(entries, key=lambda entry: entry.name)
    for entry in inside:
        here = (*place, entry.name)
        if _is_hidden(entry.name):
            _list_hidden(entry, here, found)
        elif entry.is_symlink() and _is_broken(entry):
            found.unread.append(Unread(here, "broken link"))
        elif entry.is_symlink() and _leads_away(entry, within):
            if _may_be_meant(entry):
                found.away.append(here)
            else:
                found.unread.append(Unread(here, "link"))
        elif entry.is_dir():
            _list_folder(entry, here, within, above, found)
        else:
            _list_file(entry, here, within, found)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in SYSTEM_FOLDERS


def _is_broken(entry: os.DirEntry[str]) -> bool:
    """Return True if a link is broken; raise OSError if it has the name of an image or leads to itself."""
    try:
        entry.stat()
    except OSError as error:
        if _is_called_an_image(entry.name) or error.errno == errno.ELOOP:
            raise OSError(error.errno, f"{error.strerror}: it is a broken link; remove it", entry.path) from error
        return True
    return False


def _leads_away(entry: os.DirEntry[str], within: Path | None) -> bool:
    if within is None:
        return False
    return not Path(os.path.realpath(entry.path)).is_relative_to(os.path.realpath(within))


def _may_be_meant(entry: os.DirEntry[str]) -> bool:
    """Return True if a link has the name of an image or leads to a folder; all other links are irrelevant."""
    return _is_called_an_image(entry.name) or entry.is_dir()


def _is_called_an_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES)


def _list_folder(entry: os.DirEntry[str], here: Place, within: Path | None, above: tuple[str, ...], found: Listing) -> None:
    real = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(above[-1], entry.name)
    if real in above:
        found.unread.append(Unread(here, "link to a folder above"))
    else:
        found.folders.add(here)
        _list(Path(entry.path), here, within, (*above, real), found)


def _list_hidden(entry: os.DirEntry[str], here: Place, found: Listing) -> None:
    """Record hidden files, including those in hidden folders; hidden links are not followed."""
    if entry.is_dir(follow_symlinks=False):
        for _, _, files in os.walk(entry.path):
            found.unread += [Unread((*here, name), "hidden") for name in files]
    else:
        found.unread.append(Unread(here, "hidden"))


def _list_file(entry: os.DirEntry[str], here: Place, within: Path | None, found: Listing) -> None:
    called = _is_called_an_image(entry.name)
    if not entry.is_file():
        found.unread.append(Unread(here, "not a regular file"))
    elif called:
        found.images.append(here)
    else:
        why = _why_no_image(entry, within)
        if why:
            found.unread.append(Unread(here, why))
        else:
            found.images.append(here)


def _why_no_image(entry: os.DirEntry[str], within: Path | None) -> str:
    """Find why a file without the name of an image is not one, by its first bytes; return an empty text for an image."""
    try:
        with open_regular(Path(entry.path), within) as content:
            first = content.read(SNIFFED)
    except OSError:
        return "unreadable"
    if begins_as_image(first):
        return ""
    return "empty" if not first else Path(entry.name).suffix.lower() or "without a suffix"


def accounted(unread: Iterable[Unread]) -> str:
    """Summarize the files that are not read: `12 files (9 .txt, 2 .mp4, 1 empty)`; empty if there are none."""
    kinds = Counter(each.why for each in unread)
    if not kinds:
        return ""
    several = kinds.total() > 1
    listed = ", ".join(f"{count:,} {why.replace('images', 'image', count == 1)}" for why, count in kinds.most_common())
    return f"{kinds.total():,} {'files' if several else 'file'} ({listed})"


_kept: ContextVar[dict[tuple[Path, bool], Listing] | None] = ContextVar("kept", default=None)
