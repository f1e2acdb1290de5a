# SPDX-License-Identifier: Apache-2.0
"""Validation of teacher and student in one pass over the images."""

from __future__ import annotations

from typing import Any

import torch
from mmdet.engine.runner import TeacherStudentValLoop
from mmdet.registry import LOOPS
from mmengine.runner.amp import autocast

from s4m.utils.model_wrappers import unwrapped_model

#: Networks in the order of MMDet's loop, which is the order of the metrics.
_NETWORKS = ('teacher', 'student')


@LOOPS.register_module()
class OnePassTeacherStudentValLoop(TeacherStudentValLoop):
    """MMDet's ``TeacherStudentValLoop`` that reads each image once.

    MMDet's loop validates one network after the other, and so loads and
    preprocesses the images twice. Here both networks predict each batch. The
    metrics have the same names (``teacher/...``, ``student/...``), order and
    values.

    A metric keeps what it collects in ``BaseMetric.results``; this loop gives
    each metric one such list for each network. Hooks are called once for each
    batch and get the predictions of the model's
    ``semi_test_cfg.predict_on``, so that a picture shows one network.

    Args:
        *args: Arguments of MMEngine's ``ValLoop``.
        **kwargs: Arguments of MMEngine's ``ValLoop``.
    """

    def run(self) -> dict[str, float]:
        """Validate both networks.

        Returns:
            dict[str, float]: Metrics of the teacher, then of the student.
        """
        runner, model = self.runner, unwrapped_model(self.runner)
        runner.call_hook('before_val')
        runner.call_hook('before_val_epoch')
        runner.model.eval()
        chosen = model.semi_test_cfg['predict_on']
        self._results: dict[str, list[list]] = {
            network: [[] for _ in self.evaluator.metrics]
            for network in _NETWORKS
        }
        try:
            for index, batch in enumerate(self.dataloader):
                self.run_iter(index, batch)
        finally:
            model.semi_test_cfg['predict_on'] = chosen
        metrics = {}
        for network in _NETWORKS:
            self._collect_for(network)
            found = self.evaluator.evaluate(len(self.dataloader.dataset))
            metrics.update({f'{network}/{k}': v for k, v in found.items()})
        runner.call_hook('after_val_epoch', metrics=metrics)
        runner.call_hook('after_val')
        return metrics

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: dict[str, Any]) -> None:
        """Predict one batch with both networks.

        Args:
            idx (int): Index of the batch.
            data_batch (dict): Batch of the loader.
        """
        runner, model = self.runner, unwrapped_model(self.runner)
        runner.call_hook(
            'before_val_iter', batch_idx=idx, data_batch=data_batch
        )
        chosen = model.semi_test_cfg['predict_on']
        with autocast(enabled=self.fp16):
            data = model.data_preprocessor(data_batch, False)
        shown = None
        for network in _NETWORKS:
            model.semi_test_cfg['predict_on'] = network
            # A detector adds its predictions to the samples.
            samples = [sample.new() for sample in data['data_samples']]
            with autocast(enabled=self.fp16):
                outputs = model._run_forward(
                    {**data, 'data_samples': samples}, mode='predict'
                )
            self._collect_for(network)
            self.evaluator.process(data_samples=outputs, data_batch=data_batch)
            if network == chosen:
                shown = outputs
        model.semi_test_cfg['predict_on'] = chosen
        runner.call_hook(
            'after_val_iter',
            batch_idx=idx,
            data_batch=data_batch,
            outputs=shown,
        )

    def _collect_for(self, network: str) -> None:
        """Let the metrics go on with the list of a network."""
        for metric, results in zip(
            self.evaluator.metrics, self._results[network], strict=True
        ):
            metric.results = results
