"""What numpy raises for a damaged .npy or .npz: any byte can be the broken one, those of the headers among them."""

import struct
import zipfile
import zlib
from tokenize import TokenError

DAMAGED = (
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    RuntimeError,
    SyntaxError,
    TokenError,
    MemoryError,
    OverflowError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
