# SPDX-License-Identifier: Apache-2.0
"""Label Studio's brush, with bytes that its own encoder made."""

from __future__ import annotations

import numpy as np
import pytest
from label_exports import image, masks, task, write
from s4m.datasets.formats import read_labels
from s4m.datasets.formats.brush_rle import pack, unpack

# label_studio_sdk 2.1.2: converter.brush.encode_rle of the RGBA bytes.
MASK = np.array([[0, 1, 1, 1, 0], [0, 0, 0, 0, 0], [0, 1, 0, 1, 0]], bool)
# fmt: off
PACKED = [0, 0, 0, 60, 57, 27, 252, 96, 22, 255, 240, 216, 4, 127, 241, 128,
          71, 255, 24, 0]
#: 2 x 3 pixels with the reds 0, 40 ... 200 and the alpha of `MASK`.
COLOURED = [0, 0, 0, 24, 57, 27, 252, 96, 0, 20, 66, 0, 7, 248, 10, 16, 128,
            1, 254, 3, 196, 64, 0, 80, 68, 0, 6, 68, 64, 0]
# fmt: on


def test_unpack__bytes_of_label_studio():
    np.testing.assert_array_equal(unpack(PACKED, (3, 5)), MASK)
    np.testing.assert_array_equal(unpack(COLOURED, (2, 3)), MASK[:2, :3])


@pytest.mark.parametrize('share', [0, 0.02, 0.5, 1])
def test_pack__is_unpacked(share):
    mask = np.random.default_rng(0).random((211, 317)) < share
    np.testing.assert_array_equal(unpack(pack(mask), mask.shape), mask)


def test_pack__is_read_by_label_studio():
    brush = pytest.importorskip('label_studio_sdk.converter.brush')
    mask = np.random.default_rng(1).random((40, 50)) < 0.3
    decoded = brush.decode_rle(pack(mask)).reshape(40, 50, 4)
    np.testing.assert_array_equal(decoded[..., 3] > 0, mask)


def test_brush__is_read(tmp_path):
    image(tmp_path / 'a.png', (3, 5))
    region = dict(
        type='brushlabels',
        value=dict(format='rle', rle=PACKED, brushlabels=['apple']),
        original_width=5,
        original_height=3,
    )
    found = read_labels(write(tmp_path / 'export.json', [task([region])]))
    np.testing.assert_array_equal(masks(found)['a.png'][0][1], MASK)


@pytest.mark.parametrize(
    ('data', 'message'),
    [(PACKED[:9], 'end too early'), (COLOURED, 'of 24 bytes')],
)
def test_unpack__broken_bytes(data, message):
    with pytest.raises(ValueError, match=message):
        unpack(data, (3, 5))
