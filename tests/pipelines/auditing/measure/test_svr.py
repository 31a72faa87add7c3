"""ViSQOL's support vectors without libsvm."""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from pipelines.auditing.measure.svr import NumpyMapper, SupportVectors
from tokenizer.errors import UsageError

MODEL = """svm_type nu_svr
kernel_type rbf
gamma 0.5
nr_class 2
total_sv 2
rho -3
SV
0.5 1:1 3:2
-1 2:1
"""


def test_two_vectors_by_hand() -> None:
    found = SupportVectors(MODEL).predict(np.array([1.0, 1.0, 0.0]))
    # distances: (0, 1, 4) and (1, 0, 0)
    assert found == pytest.approx(0.5 * math.exp(-2.5) - math.exp(-0.5) + 3)


def test_features_that_no_vector_has_count_as_they_do_in_libsvm() -> None:
    found = SupportVectors(MODEL).predict(np.array([1.0, 1.0, 0.0, 2.0]))
    assert found == pytest.approx(0.5 * math.exp(-4.5) - math.exp(-2.5) + 3)


def test_a_score_stays_on_the_scale(tmp_path: Path) -> None:
    (tmp_path / "model.txt").write_text(MODEL.replace("rho -3", "rho -30"))
    mapper = NumpyMapper(str(tmp_path / "model.txt"))
    mapper.init()
    assert mapper.predict_quality(np.ones(3), None) == 5.0


def test_other_models_are_refused() -> None:
    with pytest.raises(UsageError, match="no support vector regression"):
        SupportVectors(MODEL.replace("rbf", "linear"))


def test_it_is_libsvm(visqol_library: ModuleType) -> None:
    """The model that ViSQOL ships, on its features from hardly alike to equal."""
    svmutil = pytest.importorskip("libsvm.svmutil", reason="libsvm is not installed")
    model = next(Path(str(visqol_library.__file__)).parent.glob("model/libsvm*"))
    ours, theirs = SupportVectors(model.read_text()), svmutil.svm_load_model(str(model))
    rng = np.random.default_rng(0)
    for features in (*rng.uniform(0.2, 1, (50, 32)), np.ones(32), np.zeros(32)):
        named = {i: float(value) for i, value in enumerate(features, 1)}
        (expected,), _, _ = svmutil.svm_predict([0], [named], theirs, "-q")
        assert ours.predict(features) == pytest.approx(expected, abs=1e-10)
