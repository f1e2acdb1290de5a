# SPDX-License-Identifier: Apache-2.0
"""Run lengths of Label Studio's brush, as the npm package rle-pack has them.

A stream of bits, the highest of each byte first: 32 bits for the number of
values, 5 for the bits of a value less one, 4 times 4 for the bits of a
length less one; then blocks of 1 bit (whether one value repeats), 2 bits
(which of the 4 sizes the length has), the length less one, and one value or
``length`` values. Label Studio packs the RGBA bytes of the image, row by row.
"""

from __future__ import annotations

import numpy as np

#: Bits of a length, of which each block chooses one.
_SIZES = (3, 4, 8, 16)


def unpack(data: list[int], size: tuple[int, int]) -> np.ndarray:
    """Decode the mask of a brush.

    Args:
        data (list[int]): Bytes.
        size (tuple[int, int]): Height and width.

    Returns:
        ndarray: (H, W) bool, where the picture is not transparent.

    Raises:
        ValueError: if the bytes do not hold an RGBA picture of this size.
    """
    bits = np.unpackbits(np.asarray(data, np.uint8))
    # The bits as one text: `int` reads a number faster than numpy sums one.
    stream = (bits + ord('0')).tobytes().decode()
    place = 0

    def take(width: int) -> int:
        nonlocal place
        place += width
        if place > len(stream):
            raise ValueError('the run lengths end too early')
        return int(stream[place - width : place], 2)

    number = take(32)
    if number != size[0] * size[1] * 4:
        raise ValueError(
            f'the run lengths are of {number} bytes, not of '
            f'{size[0]} x {size[1]} pixels of 4'
        )
    width = take(5) + 1
    sizes = [take(4) + 1 for _ in range(4)]
    values = np.zeros(number, np.int64)
    done = 0
    while done < number:
        repeats = take(1)
        length = take(sizes[take(2)]) + 1
        if repeats:
            values[done : done + length] = take(width)
        else:
            values[done : done + length] = [take(width) for _ in range(length)]
        done += length
    return values.reshape(*size, 4)[..., 3] > 0


def pack(mask: np.ndarray) -> list[int]:
    """Encode a mask as the brush of Label Studio does.

    Args:
        mask (ndarray): (H, W) bool.

    Returns:
        list[int]: Bytes, see :func:`unpack`.
    """
    flat = mask.ravel().astype(bool)
    ends = [*np.flatnonzero(flat[1:] != flat[:-1]) + 1, flat.size]
    stream = [f'{flat.size * 4:032b}', f'{8 - 1:05b}']
    stream += [f'{size - 1:04b}' for size in _SIZES]
    start = 0
    for end in map(int, ends):
        value = '1' * 8 if flat[start] else '0' * 8
        left = (end - start) * 4
        while left:
            length = min(left, 1 << _SIZES[-1])
            which = next(
                k for k, size in enumerate(_SIZES) if length <= 1 << size
            )
            stream.append(f'1{which:02b}{length - 1:0{_SIZES[which]}b}{value}')
            left -= length
        start = end
    text = ''.join(stream)
    text += '0' * (-len(text) % 8)
    bits = np.frombuffer(text.encode(), np.uint8) - ord('0')
    return np.packbits(bits).tolist()
