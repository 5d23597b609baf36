from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import subsel
from subsel import ConfigError, InputError, SubsetSelector

#: Checks of scikit-learn's that do not hold of what selects rows, or asks more than that of its input, and why.
_ROWS = "transform returns the selected rows of what was fitted, not columns of whatever comes"
EXCLUDED = {
    "check_transformer_data_not_an_array": _ROWS,
    "check_transformer_general": _ROWS,
    "check_methods_sample_order_invariance": _ROWS,
    "check_methods_subset_invariance": _ROWS,
    "check_fit_idempotent": _ROWS,
    "check_fit2d_predict1d": _ROWS,
    "check_estimators_nan_inf": "fit refuses NaN; transform only takes rows, whatever is in them",
    "check_dtype_object": "what is no number is an InputError, and so a ValueError, where a TypeError is expected",
    "check_array_api_input": "skipped by scikit-learn itself unless SCIPY_ARRAY_API is set",
}


def test_scikit_learns_checks():
    checks = pytest.importorskip("sklearn.utils.estimator_checks", reason="scikit-learn is not installed")
    if not hasattr(checks, "estimator_checks_generator"):
        pytest.skip("scikit-learn before 1.6 has other checks")
    found = checks.check_estimator(SubsetSelector(metric="l2"), on_fail=None, on_skip=None)
    not_passed = {one["check_name"]: str(one["exception"]) for one in found if one["status"] != "passed"}
    assert not_passed.keys() == EXCLUDED.keys(), not_passed
    assert len(found) > 40


def test_it_selects_what_select_does(rng):
    X, utility = rng.standard_normal((300, 6)), rng.random(300)
    model = SubsetSelector(size=20, random_state=3, options={"refine": 0})
    assert model.fit(X, utility) is model
    expected = subsel.select(X, size=20, utility=utility, seed=3, refine=0, engine="local", progress=False)
    np.testing.assert_array_equal(model.indices_, expected.rows)
    np.testing.assert_array_equal(model.gains_, expected.table["gain"].to_numpy())
    np.testing.assert_array_equal(model.ranks_[model.indices_], np.arange(20))
    assert (np.delete(model.ranks_, model.indices_) == -1).all()
    np.testing.assert_array_equal(model.transform(X), X[np.sort(model.indices_)])
    np.testing.assert_array_equal(
        SubsetSelector(size=20).fit(X, utility=utility).fit_transform(X, utility).shape, (20, 6)
    )
    frame = pd.DataFrame(X, index=[f"r{i}" for i in range(300)])
    assert model.transform(frame).index.tolist() == [f"r{i}" for i in np.sort(model.indices_)]


def test_its_errors_are_ours_and_value_errors(rng):
    X = rng.standard_normal((20, 3))
    with pytest.raises(InputError, match="not fitted"):
        SubsetSelector().transform(X)
    with pytest.raises(InputError, match="the subset was selected from 20"):
        SubsetSelector(size=2).fit(X).transform(X[:5])
    with pytest.raises(ValueError, match="X is sparse"):
        SubsetSelector().fit(sp.csr_matrix(X))
    with pytest.raises(ConfigError, match="utility is given twice"):
        SubsetSelector().fit(X, X[:, 0], utility=X[:, 0])
    with pytest.raises(ConfigError, match=r"'nieghbors' \(did you mean 'neighbors'\?\)"):
        SubsetSelector(options={"nieghbors": 3}).fit(X)


def test_it_works_without_scikit_learn():
    code = """
import sys
sys.modules["sklearn"] = None
import numpy as np
from subsel import SubsetSelector
one = SubsetSelector(size=3).set_params(metric="l2")
assert one.get_params()["metric"] == "l2" and one.get_params().keys() >= {"size", "options"}
print(len(one.fit(np.random.default_rng(0).random((50, 4))).indices_))
try:
    one.set_params(sise=3)
except ValueError as error:
    raise SystemExit("not this")
except Exception as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("3\nunknown parameter 'sise'")
