"""Whether a variable of a MATLAB v5 file is what it says, before anything else reads it.

A file consists of elements: a kind, a size and so many bytes, in a matrix elements again. scipy
follows what they say; where that is wrong it may read beyond its tables, and the process dies.
"""

import math
import struct

_MATRIX = 14
_NUMBERS = frozenset((1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 16, 17, 18))  # of so many bytes, or text
_INT8, _INT32, _UINT32 = 1, 5, 6
_CELL, _STRUCT, _TEXT = 1, 2, 4
_ARRAYS = range(6, 16)  # classes of numbers
_COMPLEX = 0x800
_DEEPEST = 32
_LONGEST_NAME = 64  # bytes of a field's name; MATLAB writes 32 or 64


def problem(data: bytes, order: str = "<") -> str:
    """What is wrong with an unpacked variable, with the place; "" if nothing is.

    order: "<" or ">", the byte order of struct.
    """
    try:
        ((kind, start, end),) = _elements(data, 0, len(data), order)
        if kind != _MATRIX:
            return f"a variable of kind {kind}, expected {_MATRIX}"
        _check(data, start, end, order, _DEEPEST)
    except _Wrong as error:
        return str(error)
    except ValueError:
        return "more than one element in a variable"
    return ""


class _Wrong(Exception):
    pass


def _elements(data: bytes, start: int, end: int, order: str) -> list[tuple[int, int, int]]:
    """Kind, begin and end of what lies between two places."""
    found = []
    while start < end:
        if start + 8 > end:
            raise _Wrong(f"byte {start}: {end - start} bytes, expected a kind and a size")
        kind, size = struct.unpack_from(order + "II", data, start)
        begin = start + 8
        if kind >> 16:  # kind and size in one, and up to four bytes
            kind, size, begin = kind & 0xFFFF, kind >> 16, start + 4
            if size > 4:
                raise _Wrong(f"byte {start}: {size} bytes in a small element")
            start += 8
        else:
            start = begin + size + -size % 8
        if begin + size > end:
            raise _Wrong(f"byte {begin}: {size:,} bytes, and {end - begin:,} are left")
        if kind != _MATRIX and kind not in _NUMBERS:
            raise _Wrong(f"byte {begin}: of kind {kind}")
        found.append((kind, begin, begin + size))
    return found


def _check(data: bytes, start: int, end: int, order: str, depth: int) -> None:
    """Raise `_Wrong` unless a matrix consists of what its class and size ask for."""
    if start == end:
        return  # an empty cell
    if depth == 0:
        raise _Wrong(f"byte {start}: nested too deeply")
    found = _elements(data, start, end, order)
    kinds = [kind for kind, _, _ in found]
    if len(found) < 3 or kinds[0] != _UINT32 or kinds[1] != _INT32 or kinds[2] != _INT8:
        raise _Wrong(f"byte {start}: expected the flags, the size and the name of an array")
    flags, sizes, _ = (data[begin:stop] for _, begin, stop in found[:3])
    if len(flags) != 8 or len(sizes) % 4 or not 8 <= len(sizes) <= 128:
        raise _Wrong(f"byte {start}: flags of {len(flags)} and sizes of {len(sizes)} bytes")
    word = struct.unpack_from(order + "I", flags)[0]
    kind, is_complex = word & 0xFF, bool(word & _COMPLEX)
    shape = struct.unpack(f"{order}{len(sizes) // 4}i", sizes)
    count = math.prod(shape)
    if min(shape) < 0 or count > end - start:
        raise _Wrong(f"byte {start}: an array of {shape} in {end - start:,} bytes")
    rest = found[3:]
    if kind == _STRUCT:
        if len(rest) < 2 or kinds[3] != _INT32 or kinds[4] != _INT8 or rest[0][2] - rest[0][1] != 4:
            raise _Wrong(f"byte {start}: expected the names of fields")
        (length,) = struct.unpack_from(order + "i", data, rest[0][1])
        names = rest[1][2] - rest[1][1]
        if not 1 <= length <= _LONGEST_NAME or names % length:
            raise _Wrong(f"byte {rest[0][1]}: names of fields of {length} in {names} bytes")
        count *= names // length
        rest = rest[2:]
    if kind in (_CELL, _STRUCT):
        if len(rest) != count or any(k != _MATRIX for k, _, _ in rest):
            raise _Wrong(f"byte {start}: {len(rest):,} parts, expected {count:,} arrays")
        for _, begin, stop in rest:
            _check(data, begin, stop, order, depth - 1)
    elif kind == _TEXT or kind in _ARRAYS:
        if len(rest) != 1 + is_complex or any(k not in _NUMBERS for k, _, _ in rest):
            raise _Wrong(f"byte {start}: {len(rest)} parts, expected numbers")
    else:
        raise _Wrong(f"byte {start}: of class {kind}")
