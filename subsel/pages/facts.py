"""What a selection did and how good it is, in words: the rows of the closing table and of the report's page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass

from subsel.config import SelectConfig
from subsel.errors import in_shell, option
from subsel.report import CoverageReport, Estimate, GraphReport, LimitsReport, Report
from subsel.text import count
from subsel.told import near_line, points_alone, short_recall

#: How a command spells an option, see `subsel.errors.in_shell`; the library's spelling where it says None.
Flag = Callable[[str], str | None]
#: What stands where nothing was measured or said.
NONE = "–"


@dataclass(frozen=True, slots=True)
class Fact:
    """A name, and beside it a warning, the value, something less important, and the rest."""

    name: str
    value: str
    warn: str = ""
    dim: str = ""
    after: str = ""


class Facts:
    """Facts in their order."""

    def __init__(self, rows: dict[str, str] | None = None) -> None:
        self.rows = [Fact(name, value) for name, value in (rows or {}).items()]

    def add(self, name: str, value: str, *, warn: str = "", dim: str = "", after: str = "") -> None:
        """Add one, see `Fact`."""
        self.rows.append(Fact(name, value, warn, dim, after))

    def spelled(self, flag: Flag) -> Facts:
        """Return them with options as ``flag`` spells them."""
        found = Facts()
        found.rows = [Fact(*(in_shell(text, flag) for text in astuple(one))) for one in self.rows]
        return found

    def add_graph(self, graph: GraphReport) -> None:
        """Add what a graph is like, and whether it has the recall that was asked for."""
        if graph.drawn is not None:
            self.add("drawn", f"{graph.drawn:,} points at random, to search among ({option('thin')})")
        if graph.target_points is not None:
            edges = f"{graph.target_edges:,} edges to the nearest {graph.target_neighbors} points of each"
            self.add("target", f"{count(graph.target_points, 'point')} to cover, {edges}")
        if graph.target_points is None or graph.edges:
            line = graph_line(graph.edges, graph.mean_degree, graph.max_degree, graph.source)
            self.add("graph", line, warn=f"{points_alone(graph)}: " if graph.has_alone else "")
        if graph.recall is not None:
            found = f"{graph.recall:.3f} of exact neighbours (sampled), {count(graph.probes or 0, 'probe')}"
            short = f"{short_recall(graph)}: " if graph.falls_short else ""
            self.add(f"recall@{graph.neighbors}", f"{found}, {count(graph.passes or 0, 'pass')}", warn=short)


def report_facts(report: Report, flag: Flag) -> Facts:
    """Return what is told of a selection; ``flag`` spells options."""
    rows = Facts()
    points, graph, score = report.input, report.graph, report.objective
    rows.add("points", f"{points.points:,} from {points.name}, utility: {points.utility}")
    for reason, dropped in points.dropped_rows.items():
        rows.add("dropped", f"{count(dropped, 'row')}: {reason}")
    if points.copies:
        rows.add("copies", copies_line(points.copies))
    for reason, dropped in graph.dropped_edges.items():
        rows.add("dropped", f"{count(dropped, 'edge')}: {reason}")
    rows.add("selected", f"{report.k:,} ({report.k / points.points:.1%})")
    if report.engine != "local":
        joined = "" if graph.searched_parts is None else f", joined from {graph.searched_parts:,} that were searched"
        rows.add("engine", f"{report.engine}, {count(graph.parts, 'part')}{joined}")
    rows.add_graph(graph)
    _add_weights(rows, report)
    _add_wishes(rows, report)
    _add_steps(rows, report)
    if report.limits is not None:
        _add_limits(rows, report.limits)
    terms = f"utility {score.utility:,.4f} - similarity {score.similarity:,.4f}"
    if score.covered is not None:
        terms = f"covered {score.covered:,.4f} + utility {score.utility:,.4f}"
    rows.add("objective", f"{score.total:,.4f} = {terms}")
    proof = report.certificate
    cheap = ("by what the subset covers", 30) if report.config.covers else ("by bounding alone", 100)
    how = count(proof.iterations, "iteration")
    if not proof.iterations:
        how = f"{cheap[0]}; {option('certify', cheap[1])} lowers it"
    rows.add("upper bound", f"{proof.upper_bound:,.4f} ({how}): no subset {_bounded(report)} scores more")
    if proof.share is not None:
        share = f"{proof.share:.1%} of what the best could gain over random on this graph, gap {proof.gap:,.4f}"
        rows.add("  certified", share)
    if score.top_utility is not None:
        beside = f"(subset is {score.total - score.top_utility:+,.4f})"
        rows.add("  top utility", f"{score.top_utility:,.4f} ", dim=beside)
    beside = f"(subset is {score.total - score.random:+,.4f})"
    rows.add("  random", f"{score.random:,.4f} ", dim=beside, after=" (expectation)")
    if report.coverage is not None:
        _add_coverage(rows, report.coverage, "the graph" if graph.target_points is None else "the target's edges")
    if report.audit is not None:
        rows.add("audit", ", ".join(f"{reason} {points:,}" for reason, points in report.audit.items()))
    times = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in report.seconds.items())
    rows.add("seconds", f"{sum(report.seconds.values()):.1f}: {times}")
    return rows.spelled(flag)


def copies_line(copies: int) -> str:
    """Say how many points were merged into equal ones."""
    return f"{count(copies, 'point')} merged into equal ones ({option('copies', 'keep')} counts them all)"


def _add_wishes(rows: Facts, report: Report) -> None:
    """Add who was in or out before anything was selected."""
    wishes = report.constraints
    if report.greedy.kept is not None:
        told = "it is worth less than what greedy selects without it, which was taken"
        told = f"{count(report.greedy.kept, 'point')} of the old subset" if report.greedy.kept else told
        took, anew = report.seconds.get("greedy"), report.greedy.anew_seconds
        seconds = (
            "" if took is None or anew is None else f"; {took:.2f} s, of which {anew:.2f} s are greedy's without it"
        )
        rows.add("warm start", f"{told}{seconds}")
    if wishes.included or wishes.excluded:
        rows.add("your wishes", f"included {wishes.included:,}, excluded {wishes.excluded:,}")
    if report.config.exclude_near is not None:
        rows.add("near", near_line(wishes.near, report.config))


def _bounded(report: Report) -> str:
    """Say which subsets the upper bound is of."""
    wishes, limits = report.constraints, report.limits
    meets = " that meets your wishes" if wishes.included or wishes.excluded or wishes.near else ""
    if limits is None:
        return f"of {count(report.k, 'point')}{meets}"
    if not limits.budgeted and not limits.columns:
        return f"of at most {count(report.asked, 'point')}{meets}"
    origin = f", utilities counted from {limits.origin:.4g}," if limits.origin else ""
    return f"within the limits{meets}{origin}"


def _add_weights(rows: Facts, report: Report) -> None:
    """Add what the objective weighs, and by which diversity."""
    weights = report.weights
    if report.config.covers:
        rows.add("weights", f"coverage 1, utility {weights.alpha:.4g}")
        if weights.outliers:
            rows.add("outliers", f"{count(weights.outliers, 'point')} left out, the least dense")
        return
    by = "as given"
    if weights.diversity is not None:
        scales = f"utilities spread over {weights.spread:.4g}, similarity {weights.mean_similarity:.4g} on average"
        by = f"diversity {weights.diversity:g}: {scales}"
    warn = f"{weights.warning}: " if weights.warning is not None else ""
    rows.add("weights", f"alpha {weights.alpha:.4g}, beta {weights.beta:.4g}, {by}", warn=warn)
    if weights.outliers:
        rows.add("outliers", f"{count(weights.outliers, 'point')} left out, the least dense")


def _add_limits(rows: Facts, limits: LimitsReport) -> None:
    """Add what limits asked for, and how far they went: each total, and the groups of each column."""
    for one in limits.totals:
        beside = f" ({one.spent / one.asked:.2%}), {one.left:,} left" if one.asked else ""
        rows.add(one.name, f"{one.spent:,} of {one.asked:,} {one.unit}{beside}", dim=_binding(one.name, limits))
    if limits.origin:
        rows.add("", f"utilities count from {limits.origin:.4g}, the least, so that the budget does not depend on it")
    if limits.max_similarity is not None:
        alike = f"no two members have an edge of similarity above {limits.max_similarity:g}"
        if limits.alike is not None:
            left = f"; {limits.alike.left:,} near copies made room" if limits.alike.left else ""
            how = "that were compared" if limits.alike.exact else "that a search finds"
            alike += f", nor vectors of any pair of {limits.alike.compared:,} {how}{left}"
            if limits.alike.sample:
                alike += f"; {limits.alike.pairs:,} pairs of {limits.alike.sample:,} of them with all are above it"
            if limits.alike.together:
                alike += f"; {limits.alike.together:,} of {option('include')} are, and stay"
        rows.add("max similarity", alike, dim=_binding("max_similarity", limits))
    for column in limits.columns:
        full = f", {column.full:,} full" if column.full else ""
        rows.add(
            column.column, f"{count(column.count, 'group')}{full}", dim=_binding(f"quotas of {column.column}", limits)
        )
        for group in [*column.groups, *([] if column.others is None else [column.others])]:
            took = group.cost if column.by_cost and group.cost is not None else group.selected
            most = "" if group.most is None else f" of {group.most:,}"
            least = f", at least {group.least:,}" if group.least else ""
            points = f"{count(group.selected, 'point')} of {group.points:,}, " if column.by_cost else ""
            paid = f", cost {group.cost:,}" if group.cost is not None and not column.by_cost else ""
            rows.add(f"  {group.name}", f"{points}{took:,}{most}{least}{paid}, gain {group.gain:.4g} on average")


def _binding(name: str, limits: LimitsReport) -> str:
    return " binds" if name in limits.binding else ""


def _add_coverage(rows: Facts, coverage: CoverageReport, where: str) -> None:
    """Add how well the subset covers the points, and how redundant it is, each beside a random subset."""
    on_graph = f"{coverage.graph:.3f} on {where}"
    beside = f"(random {coverage.random_graph:.3f})"
    if coverage.subset is not None and coverage.random is not None:
        exact = f"{estimate_text(coverage.subset)} of similarity to the nearest member "
        after = f", {on_graph} {beside}"
        rows.add("coverage", exact, dim=f"(random {estimate_text(coverage.random)})", after=after)
    else:
        rows.add("coverage", f"{on_graph} ", dim=beside)
    if coverage.redundancy is not None and coverage.random_redundancy is not None:
        exact = f"{estimate_text(coverage.redundancy)} of similarity of a member to its nearest member "
        rows.add("redundancy", exact, dim=f"(random {estimate_text(coverage.random_redundancy)})")
    if coverage.sparsest is not None:
        rows.add("sparsest", f"{coverage.sparsest:.1%} of members are among the sparsest tenth of points")


def estimate_text(found: Estimate | None) -> str:
    """Return a mean with its standard error; a dash where nothing was measured."""
    if found is None:
        return NONE
    return f"{found.mean:.3f}" if found.error is None else f"{found.mean:.3f} ± {found.error:.3f}"


def _add_steps(rows: Facts, report: Report) -> None:
    """Add what bounding, greedy and refinement did."""
    bounding, greedy, refined = report.bounding, report.greedy, report.refine
    rounds = count(bounding.rounds, "round")
    if bounding.grow_rounds or bounding.shrink_rounds:
        rounds = f"{bounding.grow_rounds} grow and {count(bounding.shrink_rounds, 'shrink round')}"
    decided = f"accepted {bounding.accepted:,}, discarded {bounding.discarded:,} in {rounds}"
    off = "off, as under every limit" if report.limits is not None else "off"
    off = "off, as under coverage" if report.config.covers else off
    rows.add("bounding", off if bounding.method == "off" else f"{bounding_method(report.config)}: {decided}")
    steps = count(greedy.supersteps, "round" if greedy.method == "partitioned" else "superstep")
    rows.add("greedy", f"{greedy_method(report)}: selected {greedy.selected:,} in {steps}")
    rounded = {"not exact": greedy.rounded_after, "ranks not exact": greedy.ranks_rounded_after}
    for what, after in rounded.items():
        if after is not None:
            rows.add("", f": gains rounded after {count(after, 'superstep')} ({option('max_supersteps')})", warn=what)
    if report.config.covers:
        rows.add("refined", "not at all: under coverage members are not exchanged")
    elif report.config.refine and report.limits is not None and not report.limits.swaps:
        rows.add(
            "refined", "not at all: members are not exchanged where costs count, or too many combinations of groups"
        )
    elif report.config.refine:
        exchanged = f"{count(refined.exchanged, 'point')} exchanged in {count(refined.passes, 'pass')}"
        rows.add("refined", f"{refined.gained:+,.4f}: {exchanged}")


def bounding_method(config: SelectConfig) -> str:
    """Name the method of bounding with its parameters."""
    rank = ", the paper's rank" if config.bounding_rank == "paper" else ""
    if config.bounding == "approximate":
        return f"approximate ({config.sample_share:.0%} of neighbours, {config.sampling}{rank})"
    return config.bounding + rank


def greedy_method(report: Report) -> str:
    """Name the method of greedy with its parameters."""
    config = report.config
    if config.greedy == "partitioned":
        kind = "adaptive" if config.adaptive else "fixed"
        partitions = count(config.partitions or 0, "partition")
        return f"partitioned ({partitions}, {kind}, gamma {config.gamma:g}), not centralised greedy"
    return "exact, by removing" if report.greedy.direction == "reverse" else "exact"


def graph_line(edges: int, mean_degree: float, max_degree: int, source: str) -> str:
    """Describe a graph in one line."""
    return f"{count(edges, 'edge')} from {source}, {mean_degree:.1f} neighbours per point, at most {max_degree:,}"
