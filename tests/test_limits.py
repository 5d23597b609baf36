"""Budgets, quotas, minima and similarity as users ask for them: on one machine and on Spark, the same subset."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import subsel
from subsel import codes, demo
from tests.spark_fixtures import needs_spark

N = 1_200

#: Every kind of limit, and all together.
KINDS = {
    "budget": {"budget": "20%", "cost": "tokens"},
    "by gain": {"budget": "20%", "cost": "tokens", "order": "gain", "fill": False},
    "best": {"budget": 30_000, "cost": "tokens", "order": "best"},
    "size and budget": {"size": 150, "budget": "10%", "cost": "tokens"},
    "quotas": {"size": "25%", "groups": "kind", "quotas": {"web": "30%", "code": 40}, "other": "10%"},
    "many groups": {"size": "25%", "groups": "small", "quotas": "balanced"},
    "tokens of groups": {"budget": "25%", "cost": "tokens", "groups": "kind", "quotas": "sqrt", "quotas_by": "cost"},
    "two columns": {
        "size": 300,
        "groups": ["kind", "lang"],
        "quotas": {"kind": "balanced", "lang": {"en": "50%", "null": 0}},
    },
    "minima": {"size": 200, "groups": "kind", "at_least": {"forum": 60, "wiki": "20%"}},
    "similarity": {"size": 300, "max_similarity": 0.55},
    "all": {
        "size": 280,
        "budget": "22%",
        "cost": "tokens",
        "groups": "kind",
        "quotas": "proportional",
        "max_similarity": 0.6,
    },
}


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    """Points with tokens, kinds, languages (some null) and small groups; and a graph of them."""
    rng = np.random.default_rng(5)
    table = demo.demo_table(N, 16).drop_columns(["source"])
    kinds = np.array(["web", "code", "books", "wiki", "forum"])[rng.choice(5, N, p=[0.5, 0.2, 0.15, 0.1, 0.05])]
    lang = np.array(["en", "de", None], object)[rng.choice(3, N, p=[0.7, 0.2, 0.1])]
    columns = {
        "tokens": rng.lognormal(5, 1, N).astype(np.int64) * (rng.random(N) > 0.02),
        "kind": kinds,
        "lang": lang,
        "small": rng.integers(0, N // 20, N),
    }
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    folder = tmp_path_factory.mktemp("limits")
    pq.write_table(table, folder / "points.parquet")
    graph = subsel.neighbors(table, neighbors=8, copies="keep", progress=False)
    graph.graph.to_parquet(folder / "graph.parquet")
    return folder


def asked(folder, kind, **more):
    return {
        "data": folder / "points.parquet",
        "graph": folder / "graph.parquet",
        "progress": False,
        **KINDS[kind],
        **more,
    }


@pytest.mark.parametrize("kind", KINDS)
def test_limits_are_kept_and_told(documents, kind):
    options = KINDS[kind]
    found = subsel.select(**asked(documents, kind))
    report, points = found.report, pq.read_table(documents / "points.parquet").to_pandas()
    chosen = points.set_index("id").loc[found.ids]
    assert report.k == len(found.table) == len(set(found.ids))
    totals = {one.name: one for one in report.limits.totals}
    if "budget" in options:
        assert totals["budget"].spent == chosen.tokens.sum() <= totals["budget"].asked
        if options.get("fill", True) and not {"size", "max_similarity"} & options.keys():
            assert (
                totals["budget"].left <= points.tokens.min() + 1
                or totals["budget"].spent > 0.99 * totals["budget"].asked
            )
    if "size" in options:
        assert totals["size"].spent == len(chosen) <= totals["size"].asked
    for column in report.limits.columns:
        counted = chosen[column.column].fillna("null").astype(str).value_counts()
        assert (
            sum(group.selected for group in column.groups) + (column.others.selected if column.others else 0)
            == report.k
        )
        for group in [*column.groups, *([] if column.others is None else [column.others])]:
            assert group.selected == counted.get(group.name, 0) or group is column.others
            took = group.cost if column.by_cost else group.selected
            assert group.most is None or took <= group.most
            assert group.selected >= group.least
    if "max_similarity" in options:
        edges = pq.read_table(documents / "graph.parquet").to_pandas()
        near = edges[edges.similarity > options["max_similarity"]]
        inside = set(found.ids)
        assert not any(a in inside and b in inside for a, b in zip(near.src, near.dst, strict=True))
    gains = found.table["gain"].to_numpy()
    assert np.isclose(gains.sum(), found.objective)


def same_proof(one, two):
    """The bound is the same bit for bit; f is a sum of floats, in the order of each engine."""
    assert (one.upper_bound, one.iterations) == (two.upper_bound, two.iterations)
    assert (one.gap, one.share) == pytest.approx((two.gap, two.share))


def marks(kind, parts):
    if (kind, parts) == ("all", 7):
        return []
    some = kind in ("quotas", "tokens of groups", "minima", "similarity")
    return pytest.mark.slow if some and parts == 7 else pytest.mark.long


@pytest.mark.parametrize(
    ("kind", "parts"),
    [pytest.param(kind, parts, marks=marks(kind, parts)) for kind in KINDS for parts in (1, 7, 32)],
)
def test_spark_selects_the_same(spark, documents, tmp_path, kind, parts):
    needs_spark()
    expected = subsel.select(**asked(documents, kind))
    found = subsel.select(
        **asked(documents, kind),
        engine=spark,
        output=tmp_path / "subset",
        part_points=max(10, -(-N // parts)),
        finish_points=0 if parts > 1 else 1000,
    )
    assert found.table.equals(expected.table)
    assert found.report.limits == expected.report.limits
    same_proof(found.report.certificate, expected.report.certificate)


@pytest.mark.parametrize(
    "kind",
    [pytest.param("size and budget", marks=pytest.mark.long), pytest.param("tokens of groups", marks=pytest.mark.slow)],
)
def test_spark_certifies_the_same(spark, documents, tmp_path, kind):
    needs_spark()
    expected = subsel.select(**asked(documents, kind, certify=8))
    more = {"engine": spark, "output": tmp_path / "subset", "part_points": 400, "finish_points": 0, "certify": 8}
    found = subsel.select(**asked(documents, kind, **more))
    same_proof(found.report.certificate, expected.report.certificate)
    assert expected.report.certificate.iterations == 8
    plain = subsel.select(**asked(documents, kind)).report.certificate
    assert expected.report.certificate.upper_bound < plain.upper_bound


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_certified_is_above_the_subset(documents, kind):
    """Utilities count from the least where there is a budget."""
    report = subsel.select(**asked(documents, kind, certify=3)).report
    proof, least = report.certificate, report.limits.origin
    lift = report.weights.alpha * least * report.k
    f, random = report.objective.total - lift, report.objective.random - lift
    assert proof.upper_bound >= f
    assert proof.gap == pytest.approx(proof.upper_bound - f)
    assert proof.share == pytest.approx((f - random) / (proof.upper_bound - random))


@pytest.mark.slow
def test_offsets_of_64_bits(spark, documents, tmp_path):
    """A session may ask for them in every table that Python returns to it: limits, copies, text ids, outliers."""
    for name, columns in (("points", ["id"]), ("graph", ["src", "dst"])):
        table = pq.read_table(documents / f"{name}.parquet")
        for column in columns:
            texts = pa.array([f"p{i}" for i in table[column].to_pylist()])
            table = table.set_column(table.column_names.index(column), column, texts)
        pq.write_table(table, tmp_path / f"{name}.parquet")
    options = {
        "graph": tmp_path / "graph.parquet",
        "size": 40,
        "groups": "kind",
        "quotas": "balanced",
        "exclude_outliers": 0.02,
    }
    one = subsel.select(tmp_path / "points.parquet", **options, progress=False)
    spark.conf.set("spark.sql.execution.arrow.useLargeVarTypes", "true")
    try:
        two = subsel.select(
            tmp_path / "points.parquet",
            **options,
            engine=spark,
            output=tmp_path / "out",
            part_points=200,
            finish_points=0,
            progress=False,
        )
    finally:
        spark.conf.unset("spark.sql.execution.arrow.useLargeVarTypes")
    assert two.table.equals(one.table)


# ------------------------------------------------------------------ drawing first
RARE = {
    "size": 60,
    "thin": 3,
    "groups": "kind",
    "quotas": "balanced",
    "neighbors": 10,
    "copies": "keep",
    "progress": False,
}


@pytest.fixture(scope="module")
def rare(tmp_path_factory):
    """Points of a common kind, of a rarer one, and of one that has twenty."""
    table = demo.demo_table(N, 16).drop_columns(["source"])
    kinds = np.array(["common"] * (N - 120) + ["rarer"] * 100 + ["rare"] * 20)
    path = tmp_path_factory.mktemp("rare") / "points.parquet"
    pq.write_table(table.append_column("kind", pa.array(np.random.default_rng(3).permutation(kinds))), path)
    return path


def test_each_group_is_drawn_from_as_its_quota_wants(rare):
    """By size alone some three points of the twenty would be drawn, and one of them selected at most."""
    report = subsel.select(rare, **RARE).report
    (column,) = report.limits.columns
    assert {group.name: group.selected for group in column.groups} == {"common": 20, "rare": 20, "rarer": 20}
    assert report.graph.drawn == 60 + 60 + 20
    some = subsel.select(rare, **RARE | {"quotas": {"rare": 5}, "size": 40}).report
    (column,) = some.limits.columns
    assert {group.name: group.selected for group in column.groups if group.name == "rare"}["rare"] <= 5
    assert some.graph.drawn == 3 * -(-40 * (N - 120) // N) + 3 * -(-40 * 100 // N) + 3 * 5


@pytest.mark.parametrize("counts", [[3, 0, 50], [1, 1, 1], [1000, 2, 0]])
def test_points_of_groups_are_drawn_by_their_lots(counts):
    rng = np.random.default_rng(1)
    code, group = rng.integers(-(2**63), 2**63 - 1, 200), rng.integers(0, 3, 200)
    drawn = codes.draw_of_groups(code, group, np.array(counts), codes.THIN_SALT)
    lot = codes.rehash(code, codes.THIN_SALT)
    for one, count in enumerate(counts):
        mine = np.flatnonzero(group == one)
        assert set(np.flatnonzero(drawn & (group == one))) == set(mine[np.argsort(lot[mine])][:count])


@pytest.mark.slow
def test_spark_draws_the_same_of_each_group(spark, rare, tmp_path):
    ids = pq.read_table(rare)["id"].to_pylist()
    more = {"include": ids[3:4], "exclude": ids[4:6], "at_least": {"rarer": 15}, "quotas": {"common": 30}}
    for number, options in enumerate((RARE, RARE | more)):
        undrawn = []
        for name, engine in (("local", "local"), ("spark", spark)):
            where = {"engine": engine, "output": tmp_path / f"{name}{number}"}
            where["audit"] = tmp_path / f"why-{name}{number}"
            found = subsel.select(rare, **options | where)
            table = found.audit.to_table(columns=["id", "reason"])
            undrawn.append(table.filter(pc.equal(table["reason"], "not-drawn"))["id"].to_pylist())
        assert undrawn[0] == undrawn[1]
        assert 0 < len(undrawn[0]) < N
