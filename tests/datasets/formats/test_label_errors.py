# SPDX-License-Identifier: Apache-2.0
"""What cannot be read ends in one line with the file and what to do."""

from __future__ import annotations

import pytest
from label_exports import (
    coco,
    cvat,
    image,
    labelme,
    region,
    square,
    task,
    triangle,
    via,
    write,
)
from PIL import Image
from s4m.datasets.formats import read_labels


def _region(type: str, **value) -> dict:
    return task([dict(type=type, value=value)])


_POLYGON = dict(name='polygon', all_points_x=[1, 9, 9], all_points_y=[1, 1, 9])
_PARTS = {f'{k}': region(_POLYGON, a='x', b='y') for k in range(2)}

#: Name of the file, its content, and the message.
_BAD = {
    'broken': ('l.json', '{"images": [', 'is not a JSON file: .* Export'),
    'kind': ('l.json', dict(a=1, b=2), r'another kind \(with a, b\)\. COCO, '),
    'list': ('l.json', [1], r'another kind\. COCO, labelme'),
    'min': ('l.json', [dict(image='a', annotator=1)], 'not "JSON-MIN"'),
    'via 3': (
        'l.json',
        dict(project={}, view={}, metadata={}),
        'Projects of VIA 3 are not read: export COCO',
    ),
    'zip': ('l.zip', '', 'is not a file of labels. Unpack it'),
    'csv': ('l.csv', '', 'Export the annotations as JSON'),
    'txt': ('l.txt', '', 'Name the folder of a YOLO set'),
    'doc': ('l.doc', '', 'is not a file of labels. COCO, labelme, YOLO'),
    'not xml': ('l.xml', '<annotations>', 'is not an XML file: .* Export'),
    'html': ('l.xml', '<html/>', r'XML file of another kind \(<html>\)'),
    'voc': ('l.xml', '<annotation/>', 'folder with SegmentationObject'),
    'video': (
        'l.xml',
        '<annotations><track id="0"/></annotations>',
        "tracks of a video. Export it as 'CVAT for images 1.1'",
    ),
    'no list': ('l.json', dict(coco([]), images=3), "has no list 'images'"),
    'no key': (
        'l.json',
        dict(coco([]), categories=[dict(id=1)]),
        "entry 0 of 'categories' has no 'name'",
    ),
    'unknown image': (
        'l.json',
        coco([triangle(image_id=99)]),
        'annotation 4 is of image 99, which is unknown',
    ),
    'unknown class': (
        'l.json',
        coco([triangle(category_id=99)]),
        'annotation 4 is of category 99, which is unknown',
    ),
    'class twice': (
        'l.json',
        dict(
            coco([triangle()]),
            categories=[dict(id=3, name='a'), dict(id=4, name='a')],
        ),
        "has the class 'a' twice: give",
    ),
    'two points': (
        'l.json',
        coco([triangle(segmentation=[[1, 1, 5, 5]])]),
        'annotation 4 of a.png: a polygon has 2 points, 3 are the least',
    ),
    'odd': (
        'l.json',
        coco([triangle(segmentation=[[1, 1, 5, 5, 6]])]),
        'annotation 4 of a.png: a polygon is not a list of pairs',
    ),
    'nan': (
        'l.json',
        coco([triangle(segmentation=[[1, 1, 5, 5, 6, float('nan')]])]),
        'has a coordinate that is not a number',
    ),
    'rle size': (
        'l.json',
        coco([triangle(segmentation=dict(size=[5, 5], counts=[25]))]),
        'annotation 4 has a mask of 5 x 5 pixels, its image 10 is 120 x 160',
    ),
    'rle': (
        'l.json',
        coco([triangle(segmentation=dict(counts=[25]))]),
        'annotation 4 has an RLE without size or counts',
    ),
    'rle counts': (
        'l.json',
        coco([triangle(segmentation=dict(size=[120, 160], counts=[99999]))]),
        'annotation 4: the RLE cannot be decoded .* Export',
    ),
    'boxes': (
        'l.json',
        coco(
            [triangle(segmentation=s, bbox=[1, 1, 5, 5]) for s in ([], [[]])]
        ),
        r'no object with a mask \(boxes without a mask, left out: 2\)\. Draw',
    ),
    'no object': (
        'l.json',
        dict(coco([]), images=[dict(id=[1], file_name='a.png')]),
        'is not as coco files are: .* Export',
    ),
    'nothing': ('l.json', coco([]), 'has no object with a mask. Draw'),
    'labelme path': (
        'l.json',
        labelme([square()], imagePath=None),
        'has no imagePath. Open and save it in labelme',
    ),
    'labelme line': (
        'l.json',
        labelme([square(points=[[1, 1], [2, 2]])]),
        'shape 0 of a.png: a polygon has 2 points',
    ),
    'labelme circle': (
        'l.json',
        labelme([square(shape_type='circle', points=[[1, 1]])]),
        'shape 0: a circle has two points: its centre',
    ),
    'labelme mask': (
        'l.json',
        labelme([square(shape_type='mask', mask='AAAA')]),
        'shape 0: the mask cannot be read',
    ),
    'cvat points': (
        'l.xml',
        cvat('<polygon label="apple" points="1,1;2"/>'),
        r'a polygon \(apple\) of a.png: a polygon is not a list of pairs',
    ),
    'cvat text': (
        'l.xml',
        cvat('<polygon label="apple" points="1,1;2,x"/>'),
        r'a polygon \(apple\) of a.png cannot be read',
    ),
    'cvat rle': (
        'l.xml',
        cvat('<mask label="apple" rle="1,2" left="0" top="0" width="2"/>'),
        r'a mask \(apple\) of a.png cannot be read',
    ),
    'studio labels': (
        'l.json',
        [_region('polygonlabels', points=[[1, 1]], polygonlabels=['a', 'b'])],
        r"region r0 of .* has the labels \['a', 'b'\]: give it exactly one",
    ),
    'studio brush': (
        'l.json',
        [_region('brushlabels', rle=[0, 0], brushlabels=['a'])],
        'the brush cannot be read .the run lengths end too early.. Draw it',
    ),
    'studio turned': (
        'l.json',
        [
            task(
                [
                    dict(
                        type='polygonlabels',
                        image_rotation=90,
                        value=dict(points=[[1, 1]], polygonlabels=['a']),
                    )
                ]
            )
        ],
        'the image was turned in Label Studio by 90 degrees. Turn it back',
    ),
    'via class': (
        'l.json',
        via(list(_PARTS.values())),
        'have the attributes a, b: call the one that is the class "class"',
    ),
    'via ticks': (
        'l.json',
        via([region(_POLYGON, fruit={'a': True, 'b': True})]),
        "region 0 of a.png has no single value of 'fruit'",
    ),
    'via points': (
        'l.json',
        via([region(dict(_POLYGON, all_points_y=[1]), fruit='a')]),
        'region 0 of a.png: the polygon cannot be read',
    ),
}


@pytest.mark.parametrize(
    ('name', 'content', 'message'), _BAD.values(), ids=_BAD
)
def test_bad_file__one_line(tmp_path, name, content, message):
    image(tmp_path / 'a.png')
    file = write(tmp_path / name, content)
    with pytest.raises(ValueError, match=message) as e:
        read_labels(file)
    assert '\n' not in str(e.value)
    assert str(file) in str(e.value)


_YOLO = {
    'class': ('2 0.1 0.1 0.5 0.1 0.5 0.5', 'class 2, but there are names'),
    'fraction': ('0.5 0.1 0.1 0.5 0.1 0.5 0.5', 'has the class 0.5'),
    'pairs': (
        '0 0.1 0.1 0.5 0.1 0.5 0.5 0.9',
        'has 7 numbers after',
    ),
    'words': ('apple 0.1 0.1', 'line 1 is not numbers'),
    'pixels': (
        '0 10 10 50 10 50 50',
        'the coordinate 50: YOLO has shares',
    ),
    'two': ('0 0.1 0.1', 'line 1 of images/a: a polygon has 1 points'),
    'boxes': ('0 0.5 0.5 0.1 0.1', 'no object with a mask .boxes'),
}


@pytest.mark.parametrize(('line', 'message'), _YOLO.values(), ids=_YOLO)
def test_bad_yolo_line__is_named(tmp_path, line, message):
    image(tmp_path / 'images/a.png')
    write(tmp_path / 'data.yaml', 'names: [apple, pear]')
    write(tmp_path / 'labels/a.txt', line)
    with pytest.raises(ValueError, match=message) as e:
        read_labels(tmp_path)
    assert '\n' not in str(e.value) and str(tmp_path) in str(e.value)


def test_bad_yolo_names(tmp_path):
    write(tmp_path / 'set/labels/a.txt', _YOLO['boxes'][0])
    with pytest.raises(FileNotFoundError, match=r'no data\.yaml with'):
        read_labels(tmp_path / 'set')
    file = tmp_path / 'set/data.yaml'
    for text, message in (
        ('names: {0: a, 2: b}', r'numbers \[0, 2\], not 0 to 1'),
        ('names: []', 'has no names of classes'),
        ('names: [a', 'is not a YAML file'),
    ):
        with pytest.raises(ValueError, match=message) as e:
            read_labels(write(file, text))
        assert '\n' not in str(e.value)
    file.write_text('names: [a]')
    (tmp_path / 'set/labels/a.txt').unlink()
    with pytest.raises(FileNotFoundError, match='has no label files'):
        read_labels(file)


def test_bad_voc(tmp_path):
    write(
        tmp_path / 'boxes/Annotations/a.xml',
        '<annotation><filename>a.jpg</filename></annotation>',
    )
    with pytest.raises(ValueError, match='with boxes only, left out: 1'):
        read_labels(tmp_path / 'boxes')
    write(
        tmp_path / 'flat/a.xml',
        '<annotation verified="yes"><filename>a.jpg</filename></annotation>',
    )
    with pytest.raises(ValueError, match='with boxes only, left out: 1'):
        read_labels(tmp_path / 'flat')
    folder = tmp_path / 'voc'
    image(folder / 'JPEGImages/a.jpg', (4, 4))
    picture = folder / 'SegmentationObject/a.png'
    picture.parent.mkdir()
    Image.new('L', (4, 4), 1).save(picture)
    with pytest.raises(ValueError, match='object 1 has no class in labelmap'):
        read_labels(folder)
    write(folder / 'labelmap.txt', 'apple:128,0,0::')
    with pytest.raises(FileNotFoundError, match=r'Class/a\.png is miss'):
        read_labels(folder)
    (folder / 'SegmentationClass').mkdir()
    Image.new('L', (4, 5), 1).save(folder / 'SegmentationClass/a.png')
    with pytest.raises(ValueError, match='has another size than'):
        read_labels(folder)
    write(folder / 'labelmap.txt', 'apple=1')
    with pytest.raises(ValueError, match="has the line 'apple=1', not name"):
        read_labels(folder)
