# SPDX-License-Identifier: Apache-2.0
"""What ``s4m train`` decides for hand-made data sets and machines."""

import pytest
from s4m.apis.own_data.decisions import Wishes, decide
from s4m.apis.own_data.facts import (
    DataFacts,
    Machine,
    data_facts,
    hold_out,
    objects_by_class,
)
from s4m.apis.own_data.known_models import MODELS, find_model

GPU16 = Machine('T4', 16.0, 1, 8, 'fp16')
GPU24 = Machine('RTX 4090', 24.0, 1, 16, 'bf16')
GPU80 = Machine('H100', 80.0, 8, 96, 'bf16')
CPU = Machine(cores=2)


def coco(sizes, objects, side, classes=('a',)):
    """Images of sizes (height, width), each with objects of one side."""
    images = [
        dict(id=i, file_name=f'{i}.jpg', height=h, width=w)
        for i, (h, w) in enumerate(sizes)
    ]
    annotations = [
        dict(
            id=1 + i * objects + k,
            image_id=i,
            category_id=1 + (i * objects + k) % len(classes),
            area=side * side,
        )
        for i in range(len(sizes))
        for k in range(objects)
    ]
    categories = [dict(id=i, name=n) for i, n in enumerate(classes, 1)]
    return dict(images=images, annotations=annotations, categories=categories)


def unlabeled(number, size=(480, 640)):
    return coco([size] * number, 0, 1)


def reason(settings, name):
    return next(d.why for d in settings.reasons if d.setting == name)


def test_three_large_photos_of_one_camera_are_cropped():
    facts = data_facts(
        coco([(3000, 4000)] * 3, 5, 300), unlabeled(9, (3000, 4000))
    )
    s = decide(facts, GPU24)
    assert s.model.name == 'mask2former_r50' and s.weights == 'coco'
    assert facts.uniform
    assert s.views == 'crops' and s.size == 1024
    # Predicted at half their size, and crops are from around this scale.
    assert s.test_size == 2048 and s.shrinks
    assert min(s.scales) >= 1024 and max(s.scales) == 2 * 1536
    assert 'pixels' in reason(s, 'views')


def test_photos_of_several_sizes_are_jittered():
    sizes = [(480, 640), (1200, 1600), (2000, 1500), (700, 700), (3000, 4000)]
    facts = data_facts(coco(sizes, 3, 200), unlabeled(20))
    s = decide(facts, GPU24)
    assert not facts.uniform and s.views == 'jitter' and not s.scales
    # The median image is shorter than 1024 pixels.
    assert s.size == 640


def test_tiles_with_150_objects():
    facts = data_facts(
        coco([(256, 256)] * 50, 150, 12), unlabeled(100, (256, 256))
    )
    s = decide(facts, GPU24)
    assert s.size == 256 and s.views == 'jitter'
    assert s.queries == 200
    # A twelve by twelve object may be pasted.
    assert s.min_area <= 144


@pytest.mark.parametrize(
    'objects, queries',
    [(80, 100), (81, 200), (160, 200), (161, 300), (900, 300)],
)
def test_queries_cover_the_objects(objects, queries):
    facts = data_facts(coco([(500, 500)], objects, 9))
    assert decide(facts, GPU24).queries == queries


def test_panoramas_with_small_objects_are_cropped():
    facts = data_facts(
        coco([(1000, 8000)] * 4, 10, 60), unlabeled(4, (1000, 8000))
    )
    s = decide(facts, GPU24)
    # 60 of 8000 pixels would be 8 of 1024.
    assert s.views == 'crops' and s.test_size == 2048
    assert '8 pixels' in reason(s, 'views')


def test_one_labelled_image_without_others_is_supervised():
    facts = data_facts(coco([(600, 800)], 4, 100))
    s = decide(facts, GPU24)
    assert s.method == 'supervised' and s.validations == 0
    assert reason(s, 'method') == 'there are no unlabelled images'
    with pytest.raises(ValueError, match='--unlabeled'):
        decide(facts, GPU24, Wishes(method='guided_distillation'))


def test_rare_classes_are_drawn_more_often():
    names = tuple(f'c{i}' for i in range(200))
    facts = data_facts(coco([(600, 800)] * 100, 4, 100, names))
    assert len(facts.classes) == 200 and facts.rarest == pytest.approx(0.02)
    assert decide(facts, GPU24).balance
    assert not decide(facts, GPU24, Wishes(balance=False)).balance
    assert not decide(data_facts(coco([(600, 800)], 4, 100)), GPU24).balance


@pytest.mark.parametrize(
    'machine, gpus, batch, accumulate',
    # 2 x 1.15 GiB for 2**20 pixels, 1.7 GiB besides, 85 % of the memory.
    [(GPU16, 1, 4, 2), (GPU24, 1, 8, 1), (GPU80, 1, 8, 1), (GPU80, 8, 1, 1)],
)
def test_batch_fills_the_gpu_and_accumulation_makes_eight(
    machine, gpus, batch, accumulate
):
    facts = data_facts(
        coco([(1024, 1024)] * 9, 3, 90), unlabeled(9, (1024, 1024))
    )
    s = decide(facts, machine, gpus=gpus)
    assert (s.batch, s.accumulate) == (batch, accumulate)
    assert gpus * s.batch * s.accumulate == 8


def test_a_network_that_does_not_fit_names_a_size_that_does():
    small = Machine('GTX 1050', 4.0, 1, 4, 'fp16')
    facts = data_facts(coco([(1024, 1024)] * 9, 3, 90), unlabeled(9))
    wishes = Wishes(model='mask2former_r50', size=1024)
    with pytest.raises(ValueError, match=r'--size 864') as e:
        decide(facts, small, wishes)
    assert 'GTX 1050 has 4' in str(e.value)


def test_a_machine_without_a_gpu_takes_a_nano_network():
    facts = data_facts(coco([(480, 640)] * 6, 3, 90), unlabeled(40))
    s = decide(facts, CPU)
    assert s.model.is_nano and s.size == 256 and s.workers == 0
    assert s.batch == 4 and s.accumulate == 1
    assert find_model('nano', has_gpu=True).is_nano


def test_sam_makes_the_method_s4m():
    facts = data_facts(coco([(480, 640)] * 6, 3, 90), unlabeled(40))
    assert decide(facts, GPU24, sam='sam2.1_hiera_large').method == 's4m'
    assert decide(facts, GPU24).method == 'guided_distillation'
    with pytest.raises(ValueError, match='--sam'):
        decide(facts, GPU24, Wishes(method='s4m'))


def test_half_life_is_a_share_of_the_run():
    facts = data_facts(coco([(480, 640)] * 6, 3, 90), unlabeled(40))
    s = decide(facts, CPU, Wishes(iters=1000, half_life=0.05, burn_in=0.4))
    assert s.burn_in == 400
    # After 50 iterations half of the average is left.
    assert (1 - s.momentum) ** 50 == pytest.approx(0.5, abs=0.02)


def test_what_a_person_decides_is_taken():
    facts = data_facts(coco([(480, 640)] * 6, 3, 90), unlabeled(40))
    wishes = Wishes(
        model='rtmdet_ins_m',
        weights='none',
        size=320,
        views='crops',
        queries=37,
        balance=True,
        batch=3,
        accumulate=5,
        iters=77,
        validations=4,
        unsup_weight=2.0,
        min_area=9,
        lr=3e-4,
        workers=7,
        method='guided_distillation',
    )
    s = decide(facts, GPU24, wishes)
    assert s.model.name == 'rtmdet_ins_m' and s.weights == 'none'
    assert (s.size, s.views, s.queries, s.balance) == (320, 'crops', 37, True)
    assert (s.batch, s.accumulate, s.supervised_iters) == (3, 5, 77)
    assert (s.unsup_weight, s.min_area, s.lr, s.workers) == (2.0, 9, 3e-4, 7)
    assert {d.why for d in s.reasons if d.setting in ('lr', 'size')} == {
        'given'
    }


@pytest.mark.parametrize(
    'wish, match',
    [
        (dict(method='x'), '--method takes supervised'),
        (dict(views='x'), '--views takes jitter'),
        (dict(size=0), '--size must be at least 1'),
        (dict(size=100), 'multiple of 32.*try 96'),
        (dict(burn_in=1.0), '--burn-in must be above 0 and below 1'),
        (dict(unsup_weight=-1), '--unsup-weight must be at least 0'),
        (dict(model='r50'), 'There is no model r50'),
        (dict(model='mask2former_nano', weights='coco'), '--weights coco'),
        (dict(model='rtmdet_ins_l', weights='imagenet'), '--weights imagenet'),
        (dict(lr=0.0), '--lr must be above 0'),
    ],
)
def test_a_bad_value_names_its_flag(wish, match):
    facts = data_facts(coco([(480, 640)] * 6, 3, 90), unlabeled(40))
    with pytest.raises(ValueError, match=match):
        decide(facts, GPU24, Wishes(**wish))


def test_crowds_are_no_objects():
    data = coco([(480, 640)] * 2, 2, 10)
    data['annotations'][0]['iscrowd'] = 1
    assert data_facts(data).objects == 3
    assert objects_by_class(data) == {'a': 3}
    with pytest.raises(ValueError, match='2 labelled images with 0 objects'):
        data_facts(dict(data, annotations=[]))


@pytest.mark.parametrize('number, held', [(5, 0), (6, 3), (15, 3), (50, 10)])
def test_hold_out_is_a_fifth_but_at_least_three(number, held):
    data = coco([(100, 100)] * number, 2, 10, ('a', 'b'))
    chosen = hold_out(data, seed=0)
    assert len(chosen) == held == len(set(chosen))
    assert chosen == hold_out(data, seed=0)


def test_hold_out_keeps_the_classes_on_both_sides():
    data = coco([(100, 100)] * 12, 1, 10, ('a', 'b', 'c', 'd'))
    for seed in range(5):
        chosen = set(hold_out(data, seed))
        kinds = [set(), set()]
        for a in data['annotations']:
            kinds[a['image_id'] in chosen].add(a['category_id'])
        # Three images show at most three of the four classes.
        assert len(kinds[0]) == 4 and len(kinds[1]) == 3


def test_every_model_has_a_size_that_its_strides_divide():
    assert all(m.size % 32 == 0 for m in MODELS.values())
    assert DataFacts.__dataclass_fields__.keys() >= {'longest', 'uniform'}
