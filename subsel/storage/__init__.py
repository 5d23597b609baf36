"""Storage: the only package, with the command line's edge, that knows where bytes are.

`Place` is a file or folder anywhere; `place_of` makes one of what a user spells; `check_new`, `new_file` and
`new_folder` write results that appear whole or not at all; `lock` holds a folder for one run. It does not import
pyspark: what a Spark session reaches is behind the same class under ``engines/spark``.
"""

from subsel.storage.arrow import ArrowPlace, arrow_place
from subsel.storage.check import check_new, result_files
from subsel.storage.commit import NewFolder, new_file, new_folder
from subsel.storage.leftovers import FORMAT, KEPT, MANIFEST, NO_PAGES, PAGE, PAGE_DATA, manifest_of
from subsel.storage.local import LocalPlace
from subsel.storage.owner import LOCK, lock
from subsel.storage.place import FILES_AT_ONCE, TEMPORARY, FileInfo, Kind, Place
from subsel.storage.uri import path_of, place_of, refuse_credentials

__all__ = [
    "FILES_AT_ONCE",
    "FORMAT",
    "KEPT",
    "LOCK",
    "MANIFEST",
    "NO_PAGES",
    "PAGE",
    "PAGE_DATA",
    "TEMPORARY",
    "ArrowPlace",
    "FileInfo",
    "Kind",
    "LocalPlace",
    "NewFolder",
    "Place",
    "arrow_place",
    "check_new",
    "lock",
    "manifest_of",
    "new_file",
    "new_folder",
    "path_of",
    "place_of",
    "refuse_credentials",
    "result_files",
]
