# SPDX-License-Identifier: Apache-2.0
"""SAM2Segmenter against sam2's own predictor."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from s4m.models.promptable import (
    SAM2Segmenter,
    SegmenterEmbeddings,
    best_mask,
    sam2_precision,
    token_index,
)
from s4m.models.promptable.sam2_build import (
    STOCK_CONFIGS,
    build_sam2_model,
    load_sam2_checkpoint,
)

CASES = [('nano_sam2', None), ('sam2.1_hiera_tiny', 256)]


@pytest.fixture(scope='module', params=CASES, ids=lambda c: c[0])
def segmenter(request) -> SAM2Segmenter:
    torch.manual_seed(0)
    config, size = request.param
    return SAM2Segmenter(config, None, image_size=size, chunk_size=3)


@pytest.fixture(scope='module')
def images() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    coarse = rng.random((2, 6, 8, 3), np.float32)
    fine = F.interpolate(
        torch.from_numpy(coarse).permute(0, 3, 1, 2),
        (96, 128),
        mode='bilinear',
    )
    return list((fine.permute(0, 2, 3, 1) * 255).byte().numpy())


def _predictor(segmenter):
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    predictor = SAM2ImagePredictor(segmenter.model)
    side = segmenter.model.image_size // 4
    predictor._bb_feat_sizes = [(side // k,) * 2 for k in (1, 2, 4)]
    return predictor


def _rgb(images) -> torch.Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def test_decode__equals_predictor_for_points(segmenter, images):
    rng = np.random.default_rng(1)
    points = rng.uniform(0, 90, (5, 3, 2)).astype(np.float32)
    image_ids = torch.tensor([0, 0, 1, 1, 0])
    embeddings = segmenter.encode(_rgb(images))
    logits, ious = segmenter.decode(
        embeddings, image_ids, points=torch.from_numpy(points)
    )
    predictor = _predictor(segmenter)
    for n, i in enumerate(image_ids.tolist()):
        predictor.set_image(images[i])
        want, want_ious, low = predictor.predict(
            points[n], np.ones(3), multimask_output=True, return_logits=True
        )
        np.testing.assert_allclose(logits[n].clamp(-32, 32), low, atol=1e-4)
        np.testing.assert_allclose(ious[n], want_ious, atol=1e-4)
        best, score = best_mask(logits[n : n + 1], ious[n : n + 1])
        full = F.interpolate(
            best[:, None], (96, 128), mode='bilinear', align_corners=False
        )[0, 0].numpy()
        truth = want[want_ious.argmax()]
        clear = np.abs(truth) > 1e-3
        assert ((full > 0) == (truth > 0))[clear].all()
        assert score.item() == pytest.approx(want_ious.max(), abs=1e-4)


def test_decode__equals_predictor_for_boxes(segmenter, images):
    boxes = np.array([[10, 12, 60, 70], [30, 5, 90, 90]], np.float32)
    logits, ious = segmenter.decode(
        segmenter.encode(_rgb(images)),
        torch.tensor([1, 1]),
        boxes=torch.from_numpy(boxes),
        multimask=False,
    )
    assert logits.shape[:2] == ious.shape == (2, 1)
    predictor = _predictor(segmenter)
    predictor.set_image(images[1])
    for n in range(2):
        _, want_ious, low = predictor.predict(
            box=boxes[n], multimask_output=False, return_logits=True
        )
        np.testing.assert_allclose(logits[n].clamp(-32, 32), low, atol=1e-4)
        np.testing.assert_allclose(ious[n], want_ious, atol=1e-4)


def test_similarity__equals_cosines_of_hooked_tokens(segmenter, images):
    """Tokens come from a forward hook on sam2's two-way transformer."""
    rng = np.random.default_rng(2)
    points = rng.uniform(0, 90, (2, 4, 2)).astype(np.float32)
    embeddings = segmenter.encode(_rgb(images))
    rows = segmenter.similarity(embeddings, torch.from_numpy(points))
    height, width = embeddings.grid_size
    assert rows.shape == (2, 4, height * width)

    seen = []
    transformer = segmenter.model.sam_mask_decoder.transformer
    handle = transformer.register_forward_hook(
        lambda _m, _a, out: seen.append(out[1])
    )
    predictor = _predictor(segmenter)
    for i in range(2):
        predictor.set_image(images[i])
        for p in range(4):
            predictor.predict(points[i, p][None], np.ones(1))
            tokens = seen.pop()[0].double()
            x, y = points[i, p]
            own = int(y * height / 96) * width + int(x * width / 128)
            norm = tokens.norm(dim=1)
            want = tokens @ tokens[own] / (norm * norm[own])
            np.testing.assert_allclose(rows[i, p], want, atol=1e-4)
    handle.remove()


def test_chunk_size__does_not_change_results(segmenter, images):
    points = torch.rand(2, 5, 2) * 90
    embeddings = segmenter.encode(_rgb(images))
    ids = torch.arange(2).repeat_interleave(5)
    flat = points.reshape(-1, 1, 2)
    small = segmenter.decode(embeddings, ids, points=flat)
    rows = segmenter.similarity(embeddings, points)
    segmenter.chunk_size = 64
    large = segmenter.decode(embeddings, ids, points=flat)
    torch.testing.assert_close(small, large, atol=1e-4, rtol=0)
    torch.testing.assert_close(
        rows, segmenter.similarity(embeddings, points), atol=1e-5, rtol=0
    )
    segmenter.chunk_size = 3


def test_decode__no_prompts(nano_segmenter):
    embeddings = nano_segmenter.encode(torch.rand(2, 3, 64, 128) * 255)
    logits, ious = nano_segmenter.decode(
        embeddings,
        torch.zeros(0, dtype=torch.long),
        points=torch.zeros(0, 3, 2),
    )
    assert logits.shape == (0, 3, 64, 64)
    assert ious.shape == (0, 3)


def test_frozen__never_trains_and_never_builds_graphs(nano_segmenter):
    nano_segmenter.train()
    assert not any(m.training for m in nano_segmenter.modules())
    rgb = torch.rand(1, 3, 64, 64, requires_grad=True)
    embeddings = nano_segmenter.encode(rgb)
    assert not embeddings.image_embed.requires_grad
    assert not any(p.requires_grad for p in nano_segmenter.parameters())


def test_dtype__bfloat16_is_close(nano_segmenter, images):
    half = SAM2Segmenter('nano_sam2', 'nano_sam2', dtype='bfloat16')
    point = torch.tensor([[[40.0, 40.0]]])
    rows = [
        s.similarity(s.encode(_rgb(images[:1])), point)
        for s in (nano_segmenter, half)
    ]
    assert (rows[0] - rows[1]).abs().mean() < 0.05
    assert rows[1].dtype == torch.float32


def test_dtype__weights_are_cast_once(nano_segmenter, images, monkeypatch):
    """Results are bit for bit those of autocast, which casts at each call."""
    point = torch.tensor([[[40.0, 40.0]]])
    results, numbers = [], []
    for cast in (True, False):
        if not cast:
            monkeypatch.setattr(
                sam2_precision, 'cast_products', lambda *_: None
            )
        half = SAM2Segmenter('nano_sam2', 'nano_sam2', dtype='bfloat16')
        embeddings = half.encode(_rgb(images[:1]))
        results.append(
            [
                *half.decode(embeddings, torch.zeros(1).long(), point),
                half.similarity(embeddings, point),
            ]
        )
        types = [p.dtype for p in half.model.parameters()]
        numbers.append(types.count(torch.bfloat16))
    assert all(map(torch.equal, *results))
    assert numbers[0] > 20 and numbers[1] == 0
    # A trainable model keeps its weights.
    trainable = SAM2Segmenter(
        'nano_sam2', 'nano_sam2', dtype='bfloat16', frozen=False
    )
    trainable.encode(_rgb(images[:1]))
    assert {p.dtype for p in trainable.parameters()} == {torch.float32}


@pytest.mark.parametrize('has_bf16', [True, False])
def test_dtype__is_bf16_where_the_device_computes_in_it(
    nano_segmenter, images, monkeypatch, has_bf16
):
    """Masks of bf16 differ from those of fp32 in less than 0.5 % of pixels."""
    monkeypatch.setattr(sam2_precision, 'computes_in_bf16', lambda _: has_bf16)
    segmenters = [
        SAM2Segmenter('nano_sam2', 'nano_sam2', dtype=dtype)
        for dtype in ('float32', None, 'bfloat16')
    ]
    grid = torch.arange(8.0, 64.0, 12.0)
    points = torch.cartesian_prod(grid, grid)[:, None]
    ids = torch.arange(len(images)).repeat_interleave(len(points))
    points = points.repeat(len(images), 1, 1)
    masks = [
        best_mask(*s.decode(s.encode(_rgb(images)), ids, points=points))[0] > 0
        for s in segmenters
    ]
    equal = 2 if has_bf16 else 0
    assert torch.equal(masks[1], masks[equal])
    assert 0 < masks[0].float().mean() < 1
    assert (masks[0] != masks[2]).float().mean() < 0.005
    trainable = SAM2Segmenter('nano_sam2', 'nano_sam2', frozen=False)
    image = trainable.encode(_rgb(images[:1])).image_embed
    assert image.dtype == torch.float32


def test_token_index__padded_canvas():
    """floor(y * h / H) * w + floor(x * w / W) on the padded canvas."""
    points = torch.tensor([[0.0, 0.0], [95.0, 63.0], [6.0, 4.0], [5.9, 3.9]])
    got = token_index(points, (64, 96), (16, 16))
    want = [int(y * 16 / 64) * 16 + int(x * 16 / 96) for x, y in points]
    assert got.tolist() == want == [0, 255, 17, 0]


@pytest.mark.parametrize('name', STOCK_CONFIGS)
def test_build__stock_config(name):
    """All eight build; the keys are those that sam2's checkpoints have."""
    model = build_sam2_model(name)
    assert model.image_size == 1024
    keys = model.state_dict().keys()
    assert 'sam_mask_decoder.iou_token.weight' in keys
    assert ('obj_ptr_tpos_proj.weight' in keys) == name.startswith('sam2.1')


class TestCheckpoint:
    """One clear error for every bad file."""

    @pytest.fixture
    def good(self, tmp_path):
        path = tmp_path / 'sam.pt'
        model = build_sam2_model('nano_sam2')
        torch.save({'model': model.state_dict()}, path)
        return path, model

    def test_load__round_trip_with_digest(self, good):
        path, model = good
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        other = SAM2Segmenter('nano_sam2', str(path), sha256=digest).model
        for key, value in model.state_dict().items():
            assert torch.equal(value, other.state_dict()[key])

    def test_missing__says_where_to_get_it(self, tmp_path):
        with pytest.raises(FileNotFoundError, match='download-checkpoints'):
            SAM2Segmenter('nano_sam2', str(tmp_path / 'none.pt'))

    def test_digest__of_a_python_without_file_digest(self, good, monkeypatch):
        # Python 3.10, the oldest supported one.
        monkeypatch.delattr(hashlib, 'file_digest', raising=False)
        digest = hashlib.sha256(good[0].read_bytes()).hexdigest()
        SAM2Segmenter('nano_sam2', str(good[0]), sha256=digest[:12])

    def test_digest__found_and_expected(self, good):
        with pytest.raises(
            ValueError, match=r'sha256 [0-9a-f]{64}, exp.*beef'
        ):
            SAM2Segmenter('nano_sam2', str(good[0]), sha256='beef')

    def test_truncated(self, good):
        path = good[0]
        path.write_bytes(path.read_bytes()[:1000])
        with pytest.raises(ValueError, match='truncated'):
            load_sam2_checkpoint(good[1], str(path))

    def test_other_architecture(self, good):
        with pytest.raises(ValueError, match=r'does not fit.*missing'):
            SAM2Segmenter('sam2.1_hiera_tiny', str(good[0]))

    def test_not_a_sam2_file(self, tmp_path):
        torch.save({'state_dict': {}}, tmp_path / 'x.pt')
        with pytest.raises(ValueError, match="no 'model' entry"):
            SAM2Segmenter('nano_sam2', str(tmp_path / 'x.pt'))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(chunk_size=0), 'chunk_size'),
        (dict(dtype='int8'), 'dtype'),
    ],
)
def test_init__bad_value(options, message):
    with pytest.raises(ValueError, match=message):
        SAM2Segmenter('nano_sam2', None, **options)


def test_init__unknown_config():
    with pytest.raises(FileNotFoundError, match='sam2_hiera_tiny'):
        SAM2Segmenter('sam3', None)


@pytest.mark.parametrize(('grid', 'chunk'), [(16, 32), (64, 2), (128, 1)])
def test_decode_chunk__bounds_tokens_on_cpu(nano_segmenter, grid, chunk):
    embeddings = SegmenterEmbeddings(
        torch.zeros(1, 1, grid, grid), [], (512, 1024)
    )
    assert nano_segmenter.decode_chunk(embeddings) == chunk
