"""One variable of a MATLAB file of version 5 to 7, checked element by element before scipy reads it.

scipy takes the types and numbers in such a file on trust: a flipped bit in one can end the whole process. The format is
MATLAB's ("MAT-File Format", level 5): a header, then elements, each with its type and size; an array is an element of
elements, the first of which say its class, its dimensions and its name.
"""

import struct
import zlib
from collections.abc import Iterator
from math import prod

_HEADER = 128
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED, _UTF8 = 1, 5, 6, 14, 15, 16
_COUNTS = frozenset({_INT32, _UINT32})
_NUMBERS = frozenset({1, 2, 3, 4, 5, 6, 7, 9, 12, 13})
_NAMES = frozenset({_INT8, _UTF8})
_TEXTS = _NUMBERS | {_UTF8, 17, 18}
_CELL, _STRUCT, _OBJECT, _TEXT, _SPARSE, _LAST_NUMBERS, _FUNCTION = 1, 2, 3, 4, 5, 15, 16

# An annotation of PASCAL-Part, the largest of the data sets', has some 20 MB; one with more would only fill the memory.
LARGEST = 1 << 28
DEEPEST = 16
_MOST_ITEMS = 1 << 20  # of cells, structs, letters

Elements = list[tuple[int, memoryview]]


def only(content: bytes, variable: str) -> bytes | None:
    """Return a file, not compressed, that has this variable alone; None if it is not there.

    Raises ValueError for a file that is of another kind, damaged, or unpacks to more than `LARGEST` bytes, and
    zlib.error for damaged compression.
    """
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if order is None or struct.unpack_from(f"{order}H", content, 124)[0] != 0x0100:
        raise ValueError("no header of MATLAB's")
    for kind, packed in _elements(memoryview(content)[_HEADER:], order, padded=False):
        matrix = packed
        if kind == _COMPRESSED:
            matrix = _unpacked(packed, order)
        elif kind != _MATRIX:
            raise ValueError(f"an element of type {kind} where a variable has to be")
        parts = _header(matrix, order)
        if bytes(parts[2][1]) == variable.encode():
            _check(matrix, order)
            return content[:_HEADER] + struct.pack(f"{order}II", _MATRIX, len(matrix)) + bytes(matrix)
    return None


def _unpacked(packed: memoryview, order: str) -> memoryview:
    stream = zlib.decompressobj()
    content = memoryview(stream.decompress(packed, LARGEST))
    if not stream.eof:
        raise ValueError("it breaks off" if not stream.unconsumed_tail else "it unpacks to too much")
    [(kind, matrix)] = _elements(content, order)
    if kind != _MATRIX:
        raise ValueError(f"an element of type {kind} where a variable has to be")
    return matrix


def _elements(content: memoryview, order: str, padded: bool = True) -> Iterator[tuple[int, memoryview]]:
    """Yield the type and the content of each element; all but compressed ones are padded to 8 bytes."""
    place = 0
    while place < len(content):
        if place + 8 > len(content):
            raise ValueError("it breaks off")
        kind, size = struct.unpack_from(f"{order}II", content, place)
        start = place + 8
        place = start + size + (-size % 8 if padded else 0)
        if kind >> 16:  # up to four bytes of content stand in the place of the size
            kind, size, start, place = kind & 0xFFFF, kind >> 16, start - 4, start
        if place > len(content) or start + size > place:
            raise ValueError("it breaks off")
        yield kind, content[start : start + size]


def _header(matrix: memoryview, order: str) -> Elements:
    """Return an array's elements, of which the first three are class, dimensions, name."""
    parts = list(_elements(matrix, order))
    kinds = [kind for kind, _ in parts[:3]]
    whole = len(kinds) == 3 and kinds[0] == _UINT32 and len(parts[0][1]) == 8
    # Objects of MATLAB's own classes have a name where others have their dimensions.
    if not whole or kinds[1] not in _COUNTS | _NAMES or kinds[2] not in _NAMES:
        raise ValueError("an array without its header")
    return parts


def _check(matrix: memoryview, order: str, depth: int = 0) -> None:
    """Raise ValueError unless an array holds what its class and its dimensions say."""
    if not matrix:
        return  # an empty array may be written so
    parts = _header(matrix, order)
    if parts[1][0] not in _COUNTS or depth > DEEPEST:
        raise ValueError("an array without its header")
    flags = struct.unpack_from(f"{order}I", parts[0][1])[0]
    sides = struct.unpack(f"{order}{len(parts[1][1]) // 4}i", parts[1][1])
    if not 2 <= len(sides) <= 32 or min(sides) < 0 or prod(sides) > LARGEST:
        raise ValueError(f"an array of {sides} entries")
    array_class, is_complex, body = flags & 0xFF, bool(flags & 0x0800), parts[3:]
    if array_class in (_CELL, _STRUCT, _OBJECT, _TEXT) and prod(sides) > _MOST_ITEMS:
        raise ValueError(f"an array of {sides} entries")
    if array_class in (_CELL, _STRUCT, _OBJECT, _FUNCTION):
        _check_members(array_class, prod(sides), body, order, depth)
    elif array_class == _TEXT:
        _expect(body, 1, _TEXTS)
    elif array_class <= _LAST_NUMBERS and array_class:
        _expect(body, (3 if array_class == _SPARSE else 1) + is_complex, _NUMBERS)
    else:
        raise ValueError(f"an array of class {array_class}")


def _check_members(array_class: int, count: int, body: Elements, order: str, depth: int) -> None:
    if array_class == _OBJECT:
        _expect(body[:1], 1, _NAMES)
        body = body[1:]
    if array_class in (_STRUCT, _OBJECT):
        _expect(body[:1], 1, _COUNTS)
        _expect(body[1:2], 1, _NAMES)
        length = struct.unpack(f"{order}i", body[0][1])[0]
        if length < 1 or len(body[1][1]) % length:
            raise ValueError("a struct without the names of its fields")
        count *= len(body[1][1]) // length
        body = body[2:]
    _expect(body, 1 if array_class == _FUNCTION else count, frozenset({_MATRIX}))
    for _, member in body:
        _check(member, order, depth + 1)


def _expect(body: Elements, count: int, kinds: frozenset[int]) -> None:
    if len(body) != count or any(kind not in kinds for kind, _ in body):
        raise ValueError("elements of another type or number than an array says")
