"""Membership inference by a threshold on one number for each prediction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unlearn.attacks.base import Attack
from unlearn.attacks.members import FEWEST, forget_and_peers, sort_by_index, too_few_reason
from unlearn.attacks.roc import RANKING, Floats, MembershipScores, balanced_accuracy, measure_ranking
from unlearn.core.random_streams import stream_seed
from unlearn.core.types import Measurement, Predictions, Subset
from unlearn.core.validation import at_least
from unlearn.functional.estimates import confidence, cross_entropy, is_correct
from unlearn.metrics.evidence import Evidence

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Threshold(Attack):
    """Judge membership by a threshold that is fitted to other samples, for five signals.

    - `confidence` p_y, `entropy` -sum_j p_j ln p_j and `modified_entropy` -(1 - p_y) ln p_y - sum_{j != y} p_j ln(1 -
      p_j): each class has its own threshold, that of the best balanced accuracy on retain against holdout. A class with
      fewer than four samples of either, for instance one that was removed, uses the threshold of all classes together.
    - `correctness`: a sample is judged a member if it is classified correctly.
    - `loss`: a sample is judged a member if its loss is at most the mean on retain.

    Holdout samples both fit thresholds and are judged, so they are divided into `folds`: no sample is judged by a
    threshold that was fitted to it. Forget samples are judged by the thresholds of every fold, and count by the
    fraction of folds that judge them members.

    Numbers: for confidence, entropy and modified entropy `mia_NAME_auc`, `mia_NAME_tpr_at_1pct_fpr` and
        `mia_NAME_tpr_at_01pct_fpr`, which rank forget against holdout; for all five `mia_NAME_balanced_accuracy`. The
        loss ranks as confidence does, so it has the same AUC.
    Range: 0 to 1; the true-positive rates are null with fewer than 10 / (false-positive rate) non-members.
    Reference: the retrained model's value, never 0.5.
    Trap: under SPD-GAN's marker forget and holdout are marked and retain is not, so thresholds see the mark.
    Source: Song & Mittal, USENIX Security 2021; the threshold on the loss: Yeom et al. 2018; folds are ours.
    """

    subsets = (Subset.FORGET, Subset.RETAIN, Subset.HOLDOUT)
    direction = (
        "high confidence, low entropy, a low loss and a correct prediction indicate membership; the higher the AUC or "
        "the accuracy, the better the attack identifies members"
    )

    folds: int = at_least(2, 5)  # parts of the holdout set, for fitting and judging
    bootstrap: int = at_least(100, 1000)  # resamples for intervals

    def measure(self, evidence: Evidence) -> dict[str, Measurement]:
        members, peers = forget_and_peers(evidence.subject)
        retain, holdout = (sort_by_index(evidence.subject[subset]) for subset in (Subset.RETAIN, Subset.HOLDOUT))
        reason = too_few_reason(members.labels, peers.labels) or _too_few_to_fit(retain, holdout)
        if reason:
            n = len(members.labels) + len(peers.labels)
            return {name: Measurement(None, n, reason=reason) for name in KEYS}
        seed = stream_seed(evidence.seed, "threshold") % 2**32
        fold = _folds(holdout.labels.numpy(), self.folds, seed)
        is_peer = np.isin(holdout.labels.numpy(), members.labels.numpy())
        measured: dict[str, Measurement] = {}
        for name, signal in SIGNALS.items():
            inside, fitted, outside = (signal.scored(predictions) for predictions in (members, retain, holdout))
            recall, spared = _judge(signal.rule, inside, fitted, outside, fold)
            judged = balanced_accuracy(recall, len(members.labels), spared[is_peer].mean(), len(peers.labels))
            ranked = (
                measure_ranking(inside.scores, outside.scores[is_peer], self.bootstrap, seed) if signal.ranks else {}
            )
            measured |= {f"mia_{name}_{key}": value for key, value in (ranked | {"balanced_accuracy": judged}).items()}
        return measured

    def rankings(self, evidence: Evidence) -> dict[str, MembershipScores]:
        """Return the scores of confidence and of both entropies."""
        pair = forget_and_peers(evidence.subject)
        return {
            f"mia_{name}": MembershipScores(*(signal.scored(predictions).scores for predictions in pair))
            for name, signal in SIGNALS.items()
            if signal.ranks
        }


class Scored(NamedTuple):
    """Scores float64 [n], of which a high one indicates membership, and labels int64 [n]."""

    scores: Floats
    labels: Ints

    def where(self, mask: Bools) -> Scored:
        """Return the samples that a mask bool [n] selects."""
        return Scored(self.scores[mask], self.labels[mask])


Rule = Callable[[Scored, Scored], Callable[[Ints], Floats]]  # from members and others: the threshold of each label


class Signal(NamedTuple):
    """A score that indicates membership, and the rule for its threshold."""

    score: Callable[[Predictions], Tensor]
    rule: Rule
    ranks: bool  # whether its ranking is measured; False if it equals that of another signal or has only two values

    def scored(self, predictions: Predictions) -> Scored:
        """Return the scores of predictions, with their labels."""
        return Scored(self.score(predictions).numpy(), predictions.labels.numpy())


def entropy(predictions: Predictions) -> Tensor:
    """Return the Shannon entropy of each prediction in nats, 0 to ln C; float64 [n]."""
    log_p = predictions.logits.double().log_softmax(1)
    return -(log_p.exp() * log_p).sum(1)


def modified_entropy(predictions: Predictions) -> Tensor:
    """Return -(1 - p_y) ln p_y - sum_{j != y} p_j ln(1 - p_j) of each prediction, 0 to infinity; float64 [n].

    ln(1 - p_j) of the most probable class is computed as the sum of the others, since 1 - p_j would be rounded to 0.
    """
    log_p = predictions.logits.double().log_softmax(1)
    top, label = log_p.argmax(1, keepdim=True), predictions.labels[:, None]
    rest = log_p.scatter(1, top, -torch.inf).logsumexp(1, keepdim=True)
    log_not = torch.log1p(-log_p.exp()).scatter(1, top, rest)
    others = (log_p.exp() * log_not).scatter(1, label, 0.0).sum(1)
    return -(log_not.exp() * log_p).gather(1, label)[:, 0] - others


def by_class(members: Scored, others: Scored) -> Callable[[Ints], Floats]:
    """Return the best threshold of each class; a class with under four of either uses that of all common classes."""
    both = np.intersect1d(members.labels, others.labels)
    pooled = [group.where(np.isin(group.labels, both)) for group in (members, others)]
    thresholds = {}
    for label in both:
        scores = [group.where(group.labels == label).scores for group in (members, others)]
        if min(map(len, scores)) >= FEWEST:
            thresholds[int(label)] = best_threshold(*scores)
    general = best_threshold(*(group.scores for group in pooled))
    return lambda labels: np.array([thresholds.get(int(label), general) for label in labels])


def best_threshold(members: Floats, others: Floats) -> float:
    """Return the lowest of the scores from which on judging "member" gives the best balanced accuracy."""
    candidates = np.unique(np.concatenate([members, others]))
    missed, spared = (np.searchsorted(np.sort(scores), candidates) / len(scores) for scores in (members, others))
    return float(candidates[np.argmax(spared - missed)])


SIGNALS = {
    "correctness": Signal(is_correct, lambda members, others: lambda labels: np.ones(len(labels)), False),
    "confidence": Signal(confidence, by_class, True),
    "entropy": Signal(lambda predictions: -entropy(predictions), by_class, True),
    "modified_entropy": Signal(lambda predictions: -modified_entropy(predictions), by_class, True),
    "loss": Signal(
        lambda predictions: -cross_entropy(predictions),
        lambda members, others: lambda labels: np.full(len(labels), members.scores.mean()),
        False,
    ),
}
KEYS = tuple(
    f"mia_{name}_{key}"
    for name, signal in SIGNALS.items()
    for key in ((*RANKING, "balanced_accuracy") if signal.ranks else ("balanced_accuracy",))
)


def _judge(rule: Rule, members: Scored, retain: Scored, holdout: Scored, fold: Ints) -> tuple[float, Bools]:
    """Return the fraction of members judged members (mean over folds), and which holdout samples are not, bool [n]."""
    recall, spared = list[float](), np.empty(len(holdout.scores), dtype=np.bool_)
    for number in np.unique(fold):
        is_held_out = fold == number
        thresholds = rule(retain, holdout.where(~is_held_out))
        recall.append((members.scores >= thresholds(members.labels)).mean())
        spared[is_held_out] = holdout.scores[is_held_out] < thresholds(holdout.labels[is_held_out])
    return float(np.mean(recall)), spared


def _folds(labels: Ints, folds: int, seed: int) -> Ints:
    """Assign each sample to a fold, int64 [n]: a random part of each class."""
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    fold = np.empty(len(labels), dtype=np.int64)
    fold[order] = np.arange(len(labels)) % folds
    return fold


def _too_few_to_fit(retain: Predictions, holdout: Predictions) -> str | None:
    """Return why no threshold can be fitted, not even to half of the holdout set; or None."""
    shared = int(torch.isin(holdout.labels, retain.labels).sum())
    if len(retain.labels) >= FEWEST and shared >= 2 * FEWEST:
        return None
    needed = f"at least {FEWEST} and {2 * FEWEST} are needed to fit thresholds"
    return f"{len(retain.labels)} samples of retain, {shared} of holdout of their classes; {needed}"
