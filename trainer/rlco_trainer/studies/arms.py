"""What a study compares: ways to make a policy, and the studies as lists of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

StudyName = Literal[
    "main-table",
    "sim-init",
    "data-efficiency",
    "alpha",
    "beta",
    "real-data-ablation",
    "generalisation",
    "calibration",
]
Bench = Literal["", "recovered", "uncalibrated"]
"""The twin that an arm trains in: the study's; what calibrating the lab gave; that made wrong."""
Test = Literal["", "unseen objects", "unseen starts"]
"""What policies are tried on: what they were trained for, or what they never met."""


@dataclass(frozen=True, kw_only=True)
class Reinforce:
    """Stage II: reinforcement learning in the twin plus supervised terms."""

    beta: float
    """Weight of the supervised loss on real demonstrations."""
    rl: bool = True
    """False leaves the reinforcement term out: the supervised loss alone, for as many steps."""

    @property
    def name(self) -> str:
        """Return a name for its run folder."""
        return f"beta{self.beta:g}" + ("" if self.rl else "-no-rl")


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to make a policy; arms that begin alike share the run folders of the beginning."""

    label: str
    alpha: float
    """Stage I's share of sim samples: 0 is real only, 1 is sim only."""
    real_demos: int
    """Real demonstrations of each task: the first ones of those that were collected."""
    stage2: Reinforce | None = None
    x: float | None = None
    """Place on the figure's axis, where the study has one."""
    series: str = ""
    """Line of the figure, where the study has an axis."""
    bench: Bench = ""
    """The twin that sim demonstrations come from and stage II runs in."""

    @property
    def _data(self) -> str:
        real = "" if self.alpha == 1 else f"-real{self.real_demos}"
        bench = f"-in-{self.bench}" if self.bench else ""
        return f"alpha{self.alpha:g}{real}{bench}"

    @property
    def stem_folder(self) -> str:
        """Return the name of the run that trains the stem, of a preset that has one."""
        return f"stem-{self._data}"

    @property
    def stage1_folder(self) -> str:
        """Return the name of the stage I run."""
        return f"stage1-{self._data}"

    @property
    def folder(self) -> str:
        """Return the name of the run whose checkpoint is the arm's policy."""
        if self.stage2 is None:
            return self.stage1_folder
        real = f"-real{self.real_demos}" if self.alpha == 1 and self.stage2.beta > 0 else ""
        return f"stage2-{self.stage2.name}{real}-of-{self.stage1_folder}"


@dataclass(frozen=True, kw_only=True)
class Study:
    """Arms, and how to show them."""

    title: str
    question: str
    """What it is there to answer, in a sentence."""
    arms: tuple[Arm, ...]
    controls: tuple[Arm, ...] = ()
    """What says where a gain comes from, where it is not among the arms: see `controls`."""
    axis: str = ""
    """What `Arm.x` is; empty: bars."""
    comparisons: tuple[tuple[str, str], ...] = ()
    """Hypotheses: pairs (better, worse) of labels, whose difference the table states."""
    tests: tuple[Test, ...] = ("",)
    """What every policy is tried on, in the twin and in the lab."""

    @property
    def policies(self) -> tuple[Arm, ...]:
        """Arms and controls."""
        return (*self.arms, *self.controls)

    @property
    def benches(self) -> tuple[Bench, ...]:
        """The twins that its policies train in."""
        return tuple(dict.fromkeys(arm.bench for arm in self.policies))


@dataclass(frozen=True, kw_only=True)
class Usual:
    """What arms have in common where a study does not vary it."""

    real_demos: int = 10
    """Real demonstrations of each task."""
    alpha: float = 0.6
    """Share of sim samples in stage I, where the study does not vary it."""
    beta: float = 0.5
    """Weight of the real supervised loss in stage II, where the study does not vary it."""
    controls: bool = True
    """Also train and try what the paper leaves out: RL without any real data, RL-Co with beta 0,
    RL-Co without RL; in `main-table` sim data alone as well."""


def controls(usual: Usual) -> tuple[Arm, ...]:
    """Return the controls: RL without real data, without the real loss, and that loss without RL.

    They are the same for every study, so their real trials are run once for all of them.
    """
    real_demos, alpha, beta = usual.real_demos, usual.alpha, usual.beta
    no_beta, no_rl = Reinforce(beta=0.0), Reinforce(beta=beta, rl=False)
    return (
        Arm(label="RL of sim only", alpha=1.0, real_demos=real_demos, stage2=no_beta),
        Arm(label="RL-Co, beta 0", alpha=alpha, real_demos=real_demos, stage2=no_beta),
        Arm(label="RL-Co without RL", alpha=alpha, real_demos=real_demos, stage2=no_rl),
    )


def study(name: StudyName, usual: Usual) -> Study:
    """Return a study with the usual number of real demonstrations, sim share and weight.

    Raises:
        ValueError: if the name is unknown.
    """
    found = _compared(name, usual)
    if not usual.controls or name == "calibration":
        return found
    among = {arm.folder for arm in found.arms}
    return replace(found, controls=tuple(arm for arm in controls(usual) if arm.folder not in among))


def _compared(name: StudyName, usual: Usual) -> Study:
    """Return a study as the paper has it; `main-table` has its controls among its arms."""
    real_demos, alpha, beta = usual.real_demos, usual.alpha, usual.beta
    rl = Reinforce(beta=beta)
    real_only = Arm(label="real only", alpha=0.0, real_demos=real_demos)
    sft = Arm(label="SFT co-training", alpha=alpha, real_demos=real_demos)
    rl_co = Arm(label="RL-Co", alpha=alpha, real_demos=real_demos, stage2=rl)
    pairs = (("RL-Co", "SFT co-training"), ("SFT co-training", "real only"))
    no_beta = Reinforce(beta=0.0)
    if name == "main-table":
        sim_only = Arm(label="sim only", alpha=1.0, real_demos=real_demos)
        more = (sim_only, *controls(usual)) if usual.controls else ()
        return Study(
            title="Success rate by method and task",
            question="Does RL in the twin, held to real demonstrations, beat supervised "
            "co-training, and does that beat real demonstrations alone?",
            arms=(real_only, sft, rl_co, *more),
            comparisons=(*pairs, *(("RL-Co", arm.label) for arm in more)),
        )
    if name == "sim-init":
        without = Arm(label="without sim SFT", alpha=0.0, real_demos=real_demos, stage2=rl)
        with_ = Arm(label="with sim SFT", alpha=alpha, real_demos=real_demos, stage2=rl)
        return Study(
            title="Stage II with and without supervised learning on sim data before it",
            question="Does stage II need a policy that has seen sim demonstrations?",
            arms=(without, with_),
            comparisons=(("with sim SFT", "without sim SFT"),),
        )
    if name == "data-efficiency":
        counts = sorted({max(1, round(real_demos * share)) for share in (0.25, 0.5, 1.0, 2.0)})
        at_each = tuple(
            (f"{new}, {count} demos", f"{old}, {count} demos")
            for new, old in pairs
            for count in counts
        )
        fewest, most = f"RL-Co, {counts[0]} demos", f"real only, {counts[-1]} demos"
        return Study(
            title="Success rate by number of real demonstrations",
            question="How many real demonstrations does each method need?",
            comparisons=(*at_each, (fewest, most)),
            axis="real demonstrations of each task",
            arms=tuple(
                Arm(
                    label=f"{arm.label}, {count} demos",
                    alpha=arm.alpha,
                    real_demos=count,
                    stage2=arm.stage2,
                    x=count,
                    series=arm.label,
                )
                for arm in (real_only, sft, rl_co)
                for count in counts
            ),
        )
    if name == "alpha":
        shares = (0.3, 0.6, 0.8, 0.95)
        return Study(
            title="Success rate by alpha, the share of sim samples in stage I",
            question="Does RL-Co gain over the co-training that it starts from, at every alpha?",
            comparisons=tuple(
                (f"RL-Co, alpha {share:g}", f"SFT co-training, alpha {share:g}") for share in shares
            ),
            axis="alpha",
            arms=tuple(
                Arm(
                    label=f"{label}, alpha {share:g}",
                    alpha=share,
                    real_demos=real_demos,
                    stage2=stage2,
                    x=share,
                    series=label,
                )
                for label, stage2 in (("SFT co-training", None), ("RL-Co", rl))
                for share in shares
            ),
        )
    if name == "beta":
        weights = (0.0, 0.5, 5.0, 50.0)
        return Study(
            title="Success rate of RL-Co by beta, the weight of the real supervised loss",
            question="Does the supervised loss on real demonstrations help stage II, and how much "
            "of it?",
            comparisons=tuple((f"beta {weight:g}", "beta 0") for weight in weights[1:]),
            axis="beta",
            arms=tuple(
                Arm(
                    label=f"beta {weight:g}",
                    alpha=alpha,
                    real_demos=real_demos,
                    stage2=Reinforce(beta=weight),
                    x=weight,
                    series="RL-Co",
                )
                for weight in weights
            ),
        )
    if name == "real-data-ablation":
        arms = (
            Arm(label="none", alpha=1.0, real_demos=real_demos, stage2=no_beta),
            Arm(label="stage II only", alpha=1.0, real_demos=real_demos, stage2=rl),
            Arm(label="stage I only", alpha=alpha, real_demos=real_demos, stage2=no_beta),
            Arm(label="both stages", alpha=alpha, real_demos=real_demos, stage2=rl),
        )
        return Study(
            title="Where real demonstrations are used",
            question="Are real demonstrations needed in both stages?",
            arms=arms,
            comparisons=tuple(("both stages", arm.label) for arm in reversed(arms[:-1])),
        )
    if name == "generalisation":
        return Study(
            title="Success rate on what was trained for and on what was never met",
            question="Do the methods keep their order on objects and starts never trained on?",
            arms=(real_only, sft, rl_co),
            comparisons=pairs,
            tests=("", "unseen objects", "unseen starts"),
        )
    if name == "calibration":
        return _calibration(usual)
    raise ValueError(f"no study {name!r}")


def _calibration(usual: Usual) -> Study:
    """Does it matter that the twin was measured? With real demonstrations, and without any."""
    arms, pairs = [], []
    for label, share, weight in (
        ("RL-Co", usual.alpha, usual.beta),
        ("no real data", 1.0, 0.0),
    ):
        in_bench: tuple[tuple[Bench, str], ...] = (
            ("recovered", f"{label}, recovered twin"),
            ("uncalibrated", f"{label}, uncalibrated twin"),
        )
        arms += [
            Arm(
                label=name,
                alpha=share,
                real_demos=usual.real_demos,
                stage2=Reinforce(beta=weight),
                bench=bench,
            )
            for bench, name in in_bench
        ]
        pairs.append((in_bench[0][1], in_bench[1][1]))
    return Study(
        title="Trained in the twin that calibration recovered, and in an uncalibrated one",
        question="Does it matter in the lab that the twin was measured? (In the twin, each policy "
        "is tried in the one that it was trained in.)",
        arms=tuple(arms),
        comparisons=tuple(pairs),
    )
