"""Thrift's compact protocol, as far as Parquet's page headers need it: a struct to a dictionary of
its fields by number.

Source: the Apache Thrift compact protocol specification (thrift-compact-protocol.md).
"""

from __future__ import annotations

import struct

Value = bool | int | float | bytes | list["Value"] | dict[int, "Value"]

_STRUCT, _LIST, _SET, _MAP, _BINARY, _DOUBLE, _BYTE, _TRUE, _FALSE = 12, 9, 10, 11, 8, 7, 3, 1, 2
_DEEPEST = 16


class Cursor:
    """Reads forward over bytes; `IndexError` where they end too soon, `ValueError` where they make
    no sense."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data = data
        self.at = at

    def byte(self) -> int:
        value = self.data[self.at]
        self.at += 1
        return value

    def varint(self) -> int:
        """Unsigned, least significant seven bits first."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("a number of more than 64 bits in a page header")

    def zigzag(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def take(self, length: int) -> bytes:
        if self.at + length > len(self.data):
            raise IndexError("a page header ends too soon")
        self.at += length
        return self.data[self.at - length : self.at]


def read_struct(cursor: Cursor, depth: int = 0) -> dict[int, Value]:
    """One struct, fields by number."""
    if depth > _DEEPEST:
        raise ValueError("a page header of structs without end")
    fields: dict[int, Value] = {}
    number = 0
    while head := cursor.byte():
        delta, kind = head >> 4, head & 0x0F
        number = number + delta if delta else cursor.zigzag()
        fields[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else _value(cursor, kind, depth)
    return fields


def _value(cursor: Cursor, kind: int, depth: int) -> Value:
    if kind in (4, 5, 6):
        return cursor.zigzag()
    if kind in (_BYTE, _TRUE, _FALSE):  # in a list, a boolean takes a byte
        return cursor.byte()
    if kind == _BINARY:
        return cursor.take(cursor.varint())
    if kind == _DOUBLE:
        return float(struct.unpack("<d", cursor.take(8))[0])
    if kind in (_LIST, _SET):
        head = cursor.byte()
        count = head >> 4 if head >> 4 < 15 else cursor.varint()
        return [_value(cursor, head & 0x0F, depth) for _ in range(count)]
    if kind == _STRUCT:
        return read_struct(cursor, depth + 1)
    raise ValueError(f"a page header with a value of type {kind}")
