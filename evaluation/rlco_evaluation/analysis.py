"""What a ledger says about its study: rates, paired comparisons, milestones, drift, warnings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from scipy.stats import fisher_exact

from rlco_evaluation import statistics
from rlco_evaluation.blinding import Key, require_key
from rlco_evaluation.ledger import Ledger
from rlco_evaluation.records import NO_MILESTONE, TrialRecord
from rlco_evaluation.schedule import Trial, schedule
from rlco_evaluation.statistics import Interval, PairedCounts
from rlco_evaluation.study import Study

POWER = 0.8


@dataclass(frozen=True, kw_only=True)
class PolicyResult:
    """One policy's trials; `label` is its code while the study is blind.

    `furthest` counts done trials by furthest milestone: "start", then the study's, then "success".
    """

    code: str
    label: str
    successes: int
    n: int
    planned: int
    wilson: Interval | None
    exact: Interval | None
    furthest: dict[str, int]
    median_success_s: float | None
    interventions: int
    policy_ids: tuple[str, ...]

    @property
    def rate(self) -> float:
        """The observed success rate; 0 before the first trial."""
        return self.successes / self.n if self.n else 0.0


@dataclass(frozen=True, kw_only=True)
class ComparisonResult:
    """One pre-declared comparison; `first` is the policy with the higher observed rate.

    `p` is exact McNemar, `p_adjusted` Holm over the study's comparisons, `interval` Newcombe's of
    rate_first - rate_second, `detectable` the gain over `second` that had 80% power.
    """

    first: PolicyResult
    second: PolicyResult
    counts: PairedCounts
    p: float
    p_adjusted: float
    interval: Interval
    probability_better: float
    detectable: float | None
    decided: bool

    @property
    def difference(self) -> float:
        """Observed rate of `first` minus that of `second`, over the pairs."""
        return (self.counts.first - self.counts.second) / self.counts.n


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Successes in the earlier and later half of the done trials; `p` is Fisher's exact test."""

    early: tuple[int, int]
    late: tuple[int, int]
    p: float


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """Everything that a report says about trials."""

    study: Study
    blind: bool
    policies: tuple[PolicyResult, ...]
    comparisons: tuple[ComparisonResult, ...]
    done: tuple[TrialRecord, ...]
    void: tuple[TrialRecord, ...]
    remaining: int
    drift: Drift | None
    warnings: tuple[str, ...]

    @property
    def finished(self) -> bool:
        """Whether no trial is left to run."""
        return self.remaining == 0

    def policy(self, code: str) -> PolicyResult:
        """Return the result of `code`."""
        return next(policy for policy in self.policies if policy.code == code)


def analyse(study: Study, ledger: Ledger, key: Key | None = None) -> Analysis:
    """Return what `ledger` says; blind (codes for labels) without a key.

    Raises:
        BlindingError: if the key is not the study's.
        LedgerError: if the ledger is not the study's.
    """
    remaining = len(ledger.remaining(study))
    if key is not None:
        require_key(study, key)
    labels = key.labels if key else {code: code for code in study.codes}
    done = tuple(record for record in ledger.trials if record.status == "done")
    void = tuple(record for record in ledger.trials if record.status == "void")
    policies = tuple(_policy(study, code, label, done) for code, label in labels.items())
    return Analysis(
        study=study,
        blind=key is None,
        policies=policies,
        comparisons=_compare(study, {policy.code: policy for policy in policies}, done),
        done=done,
        void=void,
        remaining=remaining,
        drift=_drift(done),
        warnings=tuple(_warnings(study, ledger, policies, done, remaining)),
    )


def _policy(study: Study, code: str, label: str, done: Sequence[TrialRecord]) -> PolicyResult:
    trials = [record for record in done if record.code == code]
    successes = sum(record.success is True for record in trials)
    levels = list(dict.fromkeys(("start", *study.milestones, "success")))
    furthest = dict.fromkeys(levels, 0)
    for record in trials:
        level = "start" if record.milestone in NO_MILESTONE else record.milestone
        level = "success" if record.success else level
        furthest[level] = furthest.get(level, 0) + 1
    times = [record.duration_s for record in trials if record.success]
    n = len(trials)
    return PolicyResult(
        code=code,
        label=label,
        successes=successes,
        n=n,
        planned=study.trial_count // len(study.codes),
        wilson=statistics.rate_interval(successes, n) if n else None,
        exact=statistics.rate_interval(successes, n, method="exact") if n else None,
        furthest=furthest,
        median_success_s=median(times) if times else None,
        interventions=sum(record.interventions for record in trials),
        policy_ids=tuple(dict.fromkeys(r.policy_id for r in trials if r.policy_id)),
    )


def paired_counts(
    trials: Sequence[Trial], done: Sequence[TrialRecord], first: str, second: str
) -> PairedCounts:
    """Return the outcomes of two codes over the blocks in which both trials are done."""
    success = {record.index: bool(record.success) for record in done}
    blocks: dict[int, dict[str, bool]] = defaultdict(dict)
    for trial in trials:
        if trial.index in success:
            blocks[trial.block][trial.code] = success[trial.index]
    pairs = [(b[first], b[second]) for b in blocks.values() if first in b and second in b]
    return PairedCounts(
        both=pairs.count((True, True)),
        only_first=pairs.count((True, False)),
        only_second=pairs.count((False, True)),
        neither=pairs.count((False, False)),
    )


def _compare(
    study: Study, policies: Mapping[str, PolicyResult], done: Sequence[TrialRecord]
) -> tuple[ComparisonResult, ...]:
    trials = schedule(study)
    order = list(policies)
    rows: list[tuple[PolicyResult, PolicyResult, PairedCounts]] = []
    for pair in study.comparisons:
        # The higher rate first; of equals, the one named later (usually the newer method).
        second, first = sorted(pair, key=lambda code: (policies[code].rate, order.index(code)))
        counts = paired_counts(trials, done, first, second)
        if counts.n:
            rows.append((policies[first], policies[second], counts))
    p_values = [statistics.mcnemar_p(counts) for _, _, counts in rows]
    # Comparisons without data yet still count, as p = 1.
    adjusted = statistics.holm([*p_values, *[1.0] * (len(study.comparisons) - len(rows))])
    return tuple(
        ComparisonResult(
            first=first,
            second=second,
            counts=counts,
            p=p,
            p_adjusted=p_adjusted,
            interval=statistics.paired_difference_interval(counts, 1 - study.alpha),
            probability_better=statistics.probability_better(
                (first.successes, first.n), (second.successes, second.n)
            ),
            detectable=statistics.detectable_difference(
                second.rate, counts.n, study.alpha / len(study.comparisons), POWER
            ),
            decided=p_adjusted <= study.alpha,
        )
        for (first, second, counts), p, p_adjusted in zip(
            rows, p_values, adjusted[: len(rows)], strict=True
        )
    )


def _drift(done: Sequence[TrialRecord]) -> Drift | None:
    if len(done) < 4:
        return None
    outcomes = [bool(record.success) for record in done]
    half = len(outcomes) // 2
    early, late = outcomes[:half], outcomes[half:]
    table = [[sum(early), len(early) - sum(early)], [sum(late), len(late) - sum(late)]]
    return Drift(
        early=(sum(early), len(early)),
        late=(sum(late), len(late)),
        p=float(fisher_exact(table).pvalue),
    )


def _warnings(
    study: Study,
    ledger: Ledger,
    policies: Sequence[PolicyResult],
    done: Sequence[TrialRecord],
    remaining: int,
) -> list[str]:
    warnings = []
    if missing := study.trial_count - len(done) - remaining:
        warnings.append(
            f"Missing trials, void {study.max_attempts} times each and not run again: {missing}."
        )
    if remaining:
        warnings.append(
            f"{len(done)} of {study.trial_count} planned trials are done. Numbers of an unfinished "
            "study are not a result: stopping when they look good makes them wrong."
        )
    unblinded = next((event for event in ledger.events if event.what == "unblind"), None)
    if unblinded and any(record.utc > unblinded.utc for record in ledger.trials):
        warnings.append("Trials were run after the study had been unblinded.")
    for policy in policies:
        if len(policy.policy_ids) > 1:
            warnings.append(
                f"{policy.label} was answered by more than one checkpoint: "
                f"{', '.join(policy.policy_ids)}."
            )
    owners: dict[str, list[str]] = defaultdict(list)
    for policy in policies:
        for policy_id in policy.policy_ids:
            owners[policy_id].append(policy.label)
    for policy_id, names in owners.items():
        if len(names) > 1:
            warnings.append(f"{' and '.join(names)} were answered by one checkpoint, {policy_id}.")
    interventions = sum(policy.interventions for policy in policies)
    if interventions:
        warnings.append(f"A person stepped in {interventions} times during counted trials.")
    return warnings
