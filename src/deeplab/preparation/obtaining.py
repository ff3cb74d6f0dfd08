"""Find what the owners publish: on disk, in an archive on disk, or on their server."""

import logging
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from deeplab.errors import InputError
from deeplab.preparation.checksums import matches
from deeplab.preparation.download import download
from deeplab.preparation.originals import Original
from deeplab.preparation.unpacking import unfinished, unpack

log = logging.getLogger(__name__)

DOWNLOADS = "downloads"


class Obtaining:
    """Brings originals below `root`, from `archives` on disk or, if `may_download`, from their owners.

    Archives are known by their file names; those in `root` and `root/downloads` are found by themselves. `mirror` is
    the address of a folder that has the archives under the same names, used instead of the owners' servers.
    """

    def __init__(
        self,
        root: Path,
        archives: Sequence[Path] = (),
        may_download: bool = True,
        mirror: str | None = None,
        console: Console | None = None,
    ) -> None:
        self.root = root
        self._archives = {path.name: path for path in archives}
        self._may_download = may_download
        self._mirror = mirror
        self._console = console
        for path in archives:
            if not path.is_file():
                raise InputError(f"archives: there is no file {path}.")

    def check_archives(self, originals: Sequence[Original]) -> None:
        """Raise InputError for an archive that belongs to none of the originals."""
        known = [original.archive for original in originals]
        for name, path in self._archives.items():
            if name not in known:
                raise InputError(
                    f"archives: {path} is none of {', '.join(known)}; keep the names that the owners gave."
                )

    def place(self, original: Original) -> Path | None:
        """Return where an original lies, whole, below the root, or None."""
        if unfinished(original.archive, self.root / original.into).exists():
            return None
        places = [self.root / each for each in original.present]
        return next((each for each in places if each.exists()), None)

    def is_given(self, original: Original) -> bool:
        """Tell whether the user named the archive of an original."""
        return original.archive in self._archives

    def __call__(self, original: Original) -> Path | None:
        """Return where an original lies, after bringing it there if need be; None for one that masks do not need.

        Raises InputError if it can be had from nowhere, or its archive is not what it should be.
        """
        place = self.place(original)
        if place is not None:
            return place
        archive = self._archive(original)
        if archive is None:
            return None
        unpack(archive, self.root / original.into, original.strip, self._console)
        place = self.place(original)
        if place is None:
            raise InputError(f"{archive}: {original.present[0]} is not in it, so this is not {original.title}.")
        log.info("Unpacked %s into %s.", original.title, self.root)
        return place

    def _archive(self, original: Original) -> Path | None:
        candidates = [self.root / DOWNLOADS / original.archive, self.root / original.archive]
        if original.archive in self._archives:
            candidates.insert(0, self._archives[original.archive])
        for path in candidates:
            if path.is_file():
                if original.checksum is not None and not matches(path, original.checksum):
                    raise InputError(
                        f"{path}: its checksum is not {original.checksum}, which is published; get it again."
                    )
                return path
        url = f"{self._mirror.rstrip('/')}/{original.archive}" if self._mirror else original.url
        if not self._may_download or url is None:
            self._refuse_missing(original, url)
            return None
        received = download(url, candidates[-2], original.checksum, console=self._console)
        if original.checksum is None:
            log.info("No checksum of %s is published; sha256 as received: %s.", original.archive, received.sha256)
        return candidates[-2]

    def _refuse_missing(self, original: Original, url: str | None) -> None:
        offer = f"; it is offered at {url}" if url else "; its owners want a login, so get it by hand"
        sentence = (
            f"{self.root / original.present[0]}: {original.title} is not there{offer}: name the file "
            f"{original.archive} as archives=[FILE]"
        )
        if original.required:
            raise InputError(sentence + ("." if self._may_download or not url else " or let download=true."))
        log.warning("%s.", sentence)
