"""`rlco-eval`: plan a blind study, follow its ledger, unblind it and write its report."""

from __future__ import annotations

import getpass
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
import yaml
from rlco_datasets import spec
from rlco_datasets.contract import Contract
from rlco_datasets.initial_condition import ConditionList

from rlco_evaluation import blinding
from rlco_evaluation.ledger import Ledger
from rlco_evaluation.report.inputs import ReportInputs
from rlco_evaluation.study import Study

MILESTONES = {
    "pick_and_place": ("reached", "grasped", "lifted", "over_bowl", "success"),
    "push_cube": ("reached", "pushed", "on_goal", "success"),
    "open_drawer": ("reached", "pulled", "open", "success"),
    "close_drawer": ("reached", "pushed", "closed", "success"),
}


class CommandError(ValueError):
    """The command line asks for something impossible."""


@dataclass(frozen=True, kw_only=True)
class Create:
    """Plan a study: writes study.yaml (for the bench) and key.yaml (keep it away from the bench).

    Goes in: a file of initial conditions (from `rlco-calibrate conditions`) and the checkpoints.
    Comes out: OUT/study.yaml with blind codes A, B, C, ... and OUT/key.yaml with their meaning.

    $ rlco-eval create --name tuesday --conditions conditions.yaml
    --instruction "put the cube on the plate" --criterion "cube on the plate, released"
    --policy sft=runs/sft --policy rl-co=runs/rl-co --compare rl-co:sft --out study
    """

    name: str
    """Name of the study, for people."""
    conditions: Path
    """YAML file of initial conditions (`ConditionList`)."""
    policy: tyro.conf.UseAppendAction[tuple[str, ...]]
    """LABEL=CHECKPOINT; once for every policy. LABEL= for one without a file."""
    out: Path
    """Folder to write study.yaml and key.yaml to."""
    instruction: str
    """What the policies are told."""
    criterion: str
    """When a trial is a success, in words that leave no doubt."""
    contract_id: str | None = None
    """Contract id that robot, policies and ledger must share; that of the checkpoints if not given
    (`rlco-data info` prints a store's)."""
    hold_s: float = 0.5
    """How long the criterion must hold (s)."""
    time_limit_s: float = 20.0
    """A trial fails after this time (s)."""
    trials_per_condition: int = 1
    """How often every condition is run with every policy."""
    milestones: tuple[str, ...] | None = None
    """Named steps of the task, in the order in which they are reached; the task's own if not
    given."""
    compare: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """LABEL:LABEL to test, once for every pair; all pairs if none is given."""
    alpha: float = 0.05
    """Significance level of all comparisons together."""
    seed: int | None = None
    """Seed of the trial order; drawn at random if not given."""
    blind_seed: int | None = None
    """Seed of the blind codes, recorded in the key; drawn at random if not given."""

    def __call__(self) -> None:
        """Write the two files."""
        for path in (self.out / "study.yaml", self.out / "key.yaml"):
            if path.exists():
                raise CommandError(
                    f"{path} exists; a study is never overwritten. Choose another --out."
                )
        conditions = spec.load(ConditionList, self.conditions).conditions
        policies = _policies(self.policy)
        contract_id = _contract_id(self.contract_id, policies)
        key = blinding.blind(self.name, policies, seed=self.blind_seed)
        study = Study(
            name=self.name,
            task=conditions[0].task,
            instruction=self.instruction,
            contract_id=contract_id,
            codes=tuple(sorted(key.labels)),
            conditions=conditions,
            success_criterion=self.criterion,
            time_limit_s=self.time_limit_s,
            hold_s=self.hold_s,
            order_seed=secrets.randbelow(2**31) if self.seed is None else self.seed,
            comparisons=_comparisons(self.compare, key),
            trials_per_condition=self.trials_per_condition,
            milestones=MILESTONES.get(conditions[0].task, ())
            if self.milestones is None
            else self.milestones,
            alpha=self.alpha,
            key_commitment=key.commitment,
        )
        spec.save(key, self.out / "key.yaml")
        spec.save(study, self.out / "study.yaml")
        print(
            f"study {study.id}: {study.trial_count} trials "
            f"({len(conditions)} conditions x {study.trials_per_condition} x "
            f"{len(study.codes)} policies), at most "
            f"{study.trial_count * study.time_limit_s / 60:.0f} minutes of robot time\n"
            f"{self.out / 'study.yaml'}: take this to the bench\n"
            f"{self.out / 'key.yaml'}: keep this away from it until the last trial is done"
        )


@dataclass(frozen=True, kw_only=True)
class Status:
    """Print how far a ledger has come and which trial is next; outcomes stay hidden.

    $ rlco-eval status --study study.yaml --ledger ledger.jsonl
    """

    study: Path
    """The study file."""
    ledger: Path
    """The study's ledger."""

    def __call__(self) -> None:
        """Print the progress."""
        study = spec.load(Study, self.study)
        with Ledger.open(self.ledger, study) as ledger:
            remaining = ledger.remaining(study)
            done = sum(record.status == "done" for record in ledger.trials)
            void = len(ledger.trials) - done
            print(f"study {study.id} {study.name!r}: {done} of {study.trial_count} trials done")
            print(f"void attempts: {void}; still to run: {len(remaining)}")
            if remaining:
                trial = remaining[0]
                print(f"next: trial {trial.index}, {trial.condition}, code {trial.code}")


@dataclass(frozen=True, kw_only=True)
class Verify:
    """Check a ledger's hash chain (and that it is the study's); print its head hash.

    $ rlco-eval verify --ledger ledger.jsonl --study study.yaml
    """

    ledger: Path
    """The ledger to check."""
    study: Path | None = None
    """The study that it should belong to."""

    def __call__(self) -> None:
        """Print the head hash, or fail naming the first bad line."""
        study = spec.load(Study, self.study) if self.study else None
        with Ledger.open(self.ledger, study) as ledger:
            lines = 1 + len(ledger.trials) + len(ledger.events)
            print(f"{self.ledger}: {lines} lines unbroken, study {ledger.header.study_id}")
            print(f"head {ledger.head}")


@dataclass(frozen=True, kw_only=True)
class Unblind:
    """Apply the key: check it against the study, log that it was opened, print who is who.

    Refuses while trials are still to be run.

    $ rlco-eval unblind --study study.yaml --ledger ledger.jsonl --key key.yaml
    """

    study: Path
    """The study file."""
    ledger: Path
    """The study's ledger; the unblinding is recorded in it."""
    key: Path
    """The key file."""
    who: str = ""
    """Who unblinds; the login name if not given."""
    early: bool = False
    """Unblind although trials are still to be run; the ledger says so."""

    def __call__(self) -> None:
        """Record the unblinding and print the labels."""
        study = spec.load(Study, self.study)
        key = spec.load(blinding.Key, self.key)
        with Ledger.open(self.ledger, study, mode="a") as ledger:
            blinding.unblind(
                study, ledger, key, who=self.who or getpass.getuser(), early=self.early
            )
        for code, label in sorted(key.labels.items()):
            print(f"{code} = {label}")


@dataclass(frozen=True, kw_only=True)
class Report:
    """Write the report of a study: one HTML file that needs nothing else.

    Goes in: a report.yaml (`rlco_evaluation.report.inputs.ReportInputs`) with everything, or just
    a study and its ledger. Without the key the report stays blind: codes instead of labels.

    $ rlco-eval report --study study.yaml --ledger ledger.jsonl --key key.yaml --out report.html

    $ rlco-eval report --inputs report.yaml --out report.html
    """

    out: Path
    """The HTML file to write."""
    inputs: Path | None = None
    """A report.yaml; paths in it are relative to it."""
    study: Path | None = None
    """The study file, if there is no --inputs."""
    ledger: Path | None = None
    """The study's ledger, if there is no --inputs."""
    key: Path | None = None
    """The key file, if there is no --inputs."""

    def __call__(self) -> None:
        """Write the report."""
        # Here, since scipy.stats takes a second to import and no other command needs it.
        from rlco_evaluation.report import document

        given = [self.study, self.ledger, self.key]
        if self.inputs is not None and given == [None, None, None]:
            inputs, folder = document.load_inputs(self.inputs)
        elif self.inputs is None and self.study and self.ledger:
            folder = Path()
            inputs = ReportInputs(
                study=str(self.study),
                ledger=str(self.ledger),
                key="" if self.key is None else str(self.key),
            )
        else:
            raise CommandError("give either --inputs, or --study and --ledger (and --key)")
        document.write(inputs, folder, self.out)
        print(f"{self.out}: open it in a browser")


Command = (
    Annotated[Create, tyro.conf.subcommand("create")]
    | Annotated[Status, tyro.conf.subcommand("status")]
    | Annotated[Verify, tyro.conf.subcommand("verify")]
    | Annotated[Unblind, tyro.conf.subcommand("unblind")]
    | Annotated[Report, tyro.conf.subcommand("report")]
)


def _policies(arguments: tuple[str, ...]) -> dict[str, str]:
    policies: dict[str, str] = {}
    for argument in arguments:
        label, separator, path = argument.partition("=")
        if not separator or not label or label in policies:
            raise CommandError(
                f"--policy {argument!r}: expected LABEL=CHECKPOINT, each label once, "
                "e.g. sft=runs/sft"
            )
        policies[label] = path
    return policies


def _contract_id(given: str | None, policies: dict[str, str]) -> str:
    """Return the one contract id of the command line and the checkpoints."""
    spoken = {} if given is None else {"--contract-id": given}
    for label, checkpoint in policies.items():
        for folder in (Path(checkpoint), Path(checkpoint) / "checkpoint"):
            path = folder / "checkpoint.yaml"
            if checkpoint and path.is_file():
                spoken[label] = _stated_contract(path).id
    if not spoken:
        raise CommandError("no policy has a checkpoint that says its contract: give --contract-id")
    if len(set(spoken.values())) > 1:
        told = ", ".join(f"{name} {contract_id}" for name, contract_id in spoken.items())
        raise CommandError(
            f"all policies must speak the bench's contract, but these differ: {told}"
        )
    return next(iter(spoken.values()))


def _stated_contract(path: Path) -> Contract:
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise CommandError(f"{path} is damaged: {error}") from error
    stated = fields.get("contract") if isinstance(fields, dict) else None
    return spec.from_plain(Contract, stated, where=f"{path}: contract")


def _comparisons(arguments: tuple[str, ...], key: blinding.Key) -> tuple[tuple[str, str], ...]:
    """Return the pairs of codes, sorted so that their order tells nothing about the labels."""
    labels = list(key.labels.values())
    pairs = [tuple(argument.split(":")) for argument in arguments] or [
        (first, second) for i, first in enumerate(labels) for second in labels[i + 1 :]
    ]
    codes: list[tuple[str, str]] = []
    for pair in pairs:
        if len(pair) != 2:
            raise CommandError(f"--compare {':'.join(pair)!r}: expected LABEL:LABEL")
        first, second = sorted(key.code(label) for label in pair)
        codes.append((first, second))
    return tuple(sorted(codes))


def main(arguments: list[str] | None = None) -> None:
    """Run one subcommand; a wrong input is one line on stderr and exit status 2."""
    command = tyro.cli(Command, args=arguments, prog="rlco-eval", description=__doc__)
    try:
        command()
    except (ValueError, OSError) as error:
        print(f"rlco-eval: error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from error
