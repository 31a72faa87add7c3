"""ViSQOL's support vector regression in NumPy: nu-SVR with a radial kernel, from the file that
libsvm writes (`svm_save_model`)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokenizer.errors import UsageError


class SupportVectors:
    """`sum_i a_i exp(-gamma |x - x_i|²) - rho`."""

    def __init__(self, text: str) -> None:
        """
        Raises:
            UsageError: another kind of model.
        """
        head, _, body = text.partition("\nSV\n")
        facts = dict(line.split(maxsplit=1) for line in head.splitlines())
        if facts.get("svm_type") not in ("nu_svr", "epsilon_svr") or (
            facts.get("kernel_type") != "rbf"
        ):
            raise UsageError("ViSQOL's model is no support vector regression with a radial kernel")
        self._gamma, self._rho = float(facts["gamma"]), float(facts["rho"])
        rows = [line.split() for line in body.splitlines() if line.strip()]
        self._weights = np.array([float(row[0]) for row in rows])
        places = [[pair.split(":") for pair in row[1:]] for row in rows]
        size = max(int(index) for row in places for index, _ in row)
        self._vectors = np.zeros((len(rows), size))
        for vector, row in zip(self._vectors, places, strict=True):
            for index, value in row:
                vector[int(index) - 1] = float(value)

    def predict(self, features: NDArray[np.float64]) -> float:
        """Of one vector; features beyond it are 0, as libsvm has it."""
        x = np.zeros(self._vectors.shape[1])
        x[: len(features)] = features[: len(x)]
        beyond = float(np.square(features[len(x) :]).sum())
        distances = np.square(self._vectors - x).sum(axis=1) + beyond
        return float(self._weights @ np.exp(-self._gamma * distances)) - self._rho


class NumpyMapper:
    """In place of `visqol.quality_mapper.SvrSimilarityToQualityMapper`."""

    def __init__(self, model_path: str) -> None:
        self.model_path = model_path
        self._model: SupportVectors | None = None

    def init(self) -> None:
        with open(self.model_path, encoding="ascii") as file:  # noqa: PTH123
            self._model = SupportVectors(file.read())

    def predict_quality(self, fvnsim: NDArray[np.float64], *_: Any, **__: Any) -> float:
        if self._model is None:
            raise RuntimeError("predict_quality before init")
        return float(np.clip(self._model.predict(np.asarray(fvnsim, np.float64)), 1.0, 5.0))
