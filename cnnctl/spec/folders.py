"""A folder of images: its splits, the class of each image, and the files that are not read; without TensorFlow.

The folder is listed once (`Listing`); everything else is computed from that list. Images at any depth below a class folder
belong to that class, as in Keras's `image_dataset_from_directory` and torchvision's `ImageFolder`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cnnctl.errors import counted
from cnnctl.formats.names import ROLES
from cnnctl.reading import refuse_leading_away
from cnnctl.spec.dataset import DataSpec, NotUsable, expanded
from cnnctl.spec.labels_file import LabelsFile
from cnnctl.spec.listing import Listing, Place, Unread, accounted, listed

DEFAULT_TRAIN: str = DataSpec.model_fields["train"].default
HERE = "."
"""The name of a split that is the dataset folder itself."""
FEWEST_CLASSES = 2
FOLLOW = "put a copy in its place, remove it, or write data.follow_links: true"
"""The remedy for a link that leads out of a folder of images."""


def data_path(data: DataSpec) -> Path:
    """Return the folder or file that `data.path` names."""
    assert data.path is not None
    return expanded("path", data.path)


@dataclass(frozen=True, slots=True)
class Labelled:
    """An image and its class."""

    place: Place
    class_name: str


class FolderSet:
    """The images of a folder with their classes, by split.

    Args:
        data: a section of source `folder`; its splits are names of folders below `path`, or `.` for `path` itself.
        listing: the listing of the folder; None to list it now.

    Raises:
        NotUsable: the folder does not exist, or `labels_file` cannot be used.
        OSError: a folder cannot be read.
    """

    def __init__(self, data: DataSpec, listing: Listing | None = None) -> None:
        self._data = data
        self.path = data_path(data)
        if not self.path.is_dir():
            raise NotUsable("path", f"there is no folder '{data.path}'; a relative path starts at the current folder")
        self.listing = listing or listed(self.path, data.follow_links)
        self.labels = LabelsFile(data, self.path, self.listing.images) if data.labels_file else None
        # Notes ask for these again for each image that is not read.
        self._labelled: dict[str, list[Labelled]] = {}
        self._roots: dict[str, Place] = {}
        self._unlabelled: dict[str, dict[str, int]] = {}

    @property
    def within(self) -> Path | None:
        """The folder that links must stay in when an image is read; None if they may lead anywhere."""
        return None if self._data.follow_links else self.path

    # splits

    def root(self, split: str) -> Place:
        """Return the place of the class folders of a split: `path/split`, or for train `path` itself if that has none.

        Raises:
            OSError: the split is a link or a path out of the folder.
        """
        if split not in self._roots:
            if not self._data.follow_links:
                refuse_leading_away(self.path / split, self.path, FOLLOW)
            parts = tuple(part for part in Path(os.path.normpath(split)).parts if part != HERE)
            itself = split == DEFAULT_TRAIN and not (self._holds_classes(split) or parts in self.listing.away)
            self._roots[split] = () if itself else parts
        return self._roots[split]

    @cached_property
    def _roles(self) -> dict[str, list[str]]:
        """The folders of `path` with a name of each role, sorted."""
        tops = sorted({place[0] for place in [*self.listing.folders, *self.listing.away]})
        return {role: [top for top in tops if top.lower() in names] for role, names in ROLES.items()}

    def candidates(self, role: str) -> list[str]:
        """Return the folders that may be the split of a role: with its name, and with images in class folders.

        A single folder in it that is not a class of train, such as `test/unknown`, does not count as a class.

        Raises:
            OSError: one of them is a link out of the folder.
        """
        found = []
        for top in self._roles[role]:
            self.root(top)
            classes = self.class_names(top) if self._holds_classes(top) else []
            if len(classes) > 1 or (classes and (role == "train" or classes[0] in self._names_of_train)):
                found.append(top)
        return found

    def with_classes(self, name: str) -> list[str]:
        """Return the folders of `path` with images in class folders whose name is `name` or another name of its role."""
        names = next((names for names in ROLES.values() if name.lower() in names), (name,))
        tops = sorted({place[0] for place in [*self.listing.folders, *self.listing.away]})
        called = [top for top in tops if top == name] or [top for top in tops if top.lower() in names]
        for top in called:
            self.root(top)  # raises for a link out of the folder
        return [top for top in called if self._holds_classes(top)]

    def _holds_classes(self, top: str) -> bool:
        if self.labels:
            return any(place[0] == top for place in self.labels.by_place)
        return any(place[0] == top and len(place) > 2 for place in self.listing.images)

    @cached_property
    def _names_of_train(self) -> set[str]:
        return set(self.class_names(self._data.train))

    def unlabelled(self, role: str) -> dict[str, int]:
        """Return the folders with a name of the role whose images have no classes, with the number of images."""
        if role not in self._unlabelled:
            candidates = self.candidates(role)
            others = [top for top in self._roles[role] if top not in candidates]
            if not self.root(self._data.train):
                others = [top for top in others if top in self._apart]
            counts = Counter(place[0] for place in self.listing.images)
            self._unlabelled[role] = {top: counts[top] for top in others if counts[top]}
        return self._unlabelled[role]

    # classes

    def labelled(self, split: str) -> list[Labelled]:
        """Return the images of a split, sorted by class and then by their place.

        Raises:
            OSError: a link in it leads out of the folder.
        """
        if split not in self._labelled:
            root = self.root(split)
            for place in self._below(root, self.listing.away):
                refuse_leading_away(self.path.joinpath(*place), self.path, FOLLOW)
            keeps = self._keeps_classes_of_folders(root)
            found = ((place, self._class_of(place, root, keeps)) for place in self._below(root, self.listing.images))
            named = [Labelled(place, name) for place, name in found if name is not None]
            self._labelled[split] = sorted(named, key=lambda each: (each.class_name, each.place))
        return self._labelled[split]

    def _below(self, root: Place, places: Sequence[Place]) -> Iterator[Place]:
        """Yield the places of a split; if that is `path` itself, without the folders of other splits."""
        apart = set() if root else self._apart
        return (place for place in places if place[: len(root)] == root and not (len(place) > 1 and place[0] in apart))

    @cached_property
    def _apart(self) -> set[str]:
        """The folders of `path` that are other splits, if train is `path` itself.

        A folder with the name of a split but only loose images counts as a class if fewer than two other classes exist.
        With `train: .`, every folder is a class except those that the config names as splits.
        """
        named = {Path(part).parts[0] for part in (self._data.validation, self._data.test) if isinstance(part, str)}
        if self._data.train == HERE:
            return named
        called = {*self._roles["validation"], *self._roles["test"]}
        tops = {place[0] for place in self.listing.images if len(place) > 1}
        if len(tops - named - called) >= FEWEST_CLASSES:
            return named | called
        return named | {top for top in called if self._holds_classes(top)}

    def _class_of(self, place: Place, root: Place, keeps: bool) -> str | None:
        """Return the class of an image, or None; `keeps` is the result of `_keeps_classes_of_folders`."""
        if self.labels and place in self.labels.by_place:
            return self.labels.by_place[place]
        folders = place[len(root) : -1]
        if not (folders and keeps):
            return None
        return folders[0] if self._data.class_folders == "top" else "/".join(folders)

    def _keeps_classes_of_folders(self, root: Place) -> bool:
        """Return True if folders are classes: without a labels file, or if some of its labels are names of folders."""
        return self.labels is None or self.labels.labels_folders(self._tops(root))

    def _tops(self, root: Place) -> set[str]:
        """Return the names of the folders directly below a root."""
        return {folder[-1] for folder in self.listing.folders if folder[:-1] == root}

    def class_names(self, split: str) -> list[str]:
        """Return the classes of a split, sorted: those of its images, and empty folders."""
        return sorted({*(each.class_name for each in self.labelled(split)), *self._empty_classes(split)})

    def _empty_classes(self, split: str) -> list[str]:
        if self.labels or self._data.class_folders == "leaf":
            return []
        root = self.root(split)
        used = {place[: len(root) + 1] for place in self.listing.folders if len(place) > len(root) + 1}
        used |= {place[: len(root) + 1] for place in self.listing.images}
        used |= {each.place[: len(root) + 1] for each in self.listing.unread if each.why != "hidden"}
        tops = self._below(root, [folder for folder in self.listing.folders if len(folder) == len(root) + 1])
        return [top[-1] for top in tops if top not in used and not (not root and top[0] in self._apart)]

    def without_images(self, split: str) -> list[str]:
        """Return the folders among the class folders of a split that hold files but no images."""
        root = self.root(split)
        tops = {
            each.place[len(root)] for each in self.listing.unread if each.why != "hidden" and self._is_below(each.place, root)
        }
        return sorted(
            tops - set(self.class_names(split)) - {place[len(root)] for place in self._below(root, self.listing.images)}
        )

    def _is_below(self, place: Place, root: Place) -> bool:
        """Return True if a file is in a folder below a root."""
        inside = len(place) > len(root) + 1 and place[: len(root)] == root
        return inside and (bool(root) or place[0] not in self._apart)

    def groups(self, split: str) -> list[str]:
        """Return the group of each image of a split, the first folder of its class, in the order of `labelled`."""
        root = self.root(split)
        return [each.place[len(root)] for each in self.labelled(split)]

    # files that are not read

    def unread(self) -> list[Unread]:
        """Return every file that no split of the config reads, with the reason."""
        read = {each.place for split in self._splits() for each in self.labelled(split)}
        images = [Unread(place, self._why_left(place)) for place in self.listing.images if place not in read]
        links = [Unread(place, "link out of the folder") for place in self.listing.away]
        own = self.labels.place if self.labels else None
        return sorted(
            [*images, *links, *(each for each in self.listing.unread if each.place != own)], key=lambda each: each.place
        )

    def _splits(self) -> list[str]:
        parts = (self._data.train, self._data.validation, self._data.test)
        return [part for part in parts if isinstance(part, str) and (part == self._data.train or self.root(part))]

    def _why_left(self, place: Place) -> str:
        for split in self._splits():
            root = self.root(split)
            if root and place[: len(root)] == root:
                return self._why_no_class(place, root)
        if len(place) > 1 and (self.root(self._data.train) or place[0] in self._apart):
            role = next((role for role in ROLES if place[0] in self._roles[role]), None)
            if role and place[0] in self.unlabelled(role):
                return f"images in {place[0]}/ without classes"
            return f"images in {place[0]}/, which is not a split of the config"
        return self._why_no_class(place, self.root(self._data.train))

    def _why_no_class(self, place: Place, root: Place) -> str:
        if self.labels:
            known = place in self.labels.unlabelled
            return f"images without a label in {self._data.labels_file}" if known else f"images not in {self._data.labels_file}"
        return "images outside of the class folders"

    def account(self) -> str:
        """Summarize the folder: `read 400 images in 3 classes; not read: 12 files (9 .txt, 3 empty)`."""
        images = sum(len(self.labelled(split)) for split in self._splits())
        classes = len({each.class_name for split in self._splits() for each in self.labelled(split)})
        read = f"read {counted(images, 'image')} in {counted(classes, 'class', 'classes')}"
        left = accounted(self.unread())
        return f"{read}; not read: {left}" if left else read
