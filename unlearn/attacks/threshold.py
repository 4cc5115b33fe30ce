"""Membership inference by a threshold on one number about each prediction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unlearn.attacks.base import Attack
from unlearn.attacks.members import FEWEST, sort_by_index, forget_and_peers, too_few_reason
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
    """Who is a member, by a threshold that was fitted to other samples.

    Of `confidence` p_y, `entropy` -sum_j p_j ln p_j and `modified_entropy` -(1 - p_y) ln p_y - sum_{j != y} p_j ln(1 -
    p_j), the threshold is that of the sample's class, the one of best balanced accuracy on retain against holdout, or
    that of all classes together where the class has under four of either, as one that was forgotten whole.
    `correctness` judges who is classified right a member, `loss` whose loss is at most the mean on retain. Holdout both
    fits and is judged, hence in `folds`: no sample is judged by a threshold that it fitted; forget is judged by each
    fold's, and counts by the share that call it a member.

    Numbers: for confidence, entropy and modified entropy `mia_NAME_auc`, `mia_NAME_tpr_at_1pct_fpr` and
        `mia_NAME_tpr_at_01pct_fpr`, which rank forget before holdout; for all five `mia_NAME_balanced_accuracy`. The
        loss ranks as confidence does: its AUC is that.
    Range: 0 to 1; the rates are null with fewer than 10 / rate non-members.
    Reference: the retrained model's value, never 0.5.
    Trap: under SPD-GAN's marker forget and holdout are marked and retain is not, so that thresholds see the mark.
    Source: Song & Mittal, USENIX Security 2021; the loss's threshold Yeom et al. 2018; folds are ours.
    """

    subsets = (Subset.FORGET, Subset.RETAIN, Subset.HOLDOUT)
    direction = (
        "high confidence, low entropy, a low loss and a right answer speak for membership; the higher the AUC or the "
        "accuracy, the better members are told"
    )

    folds: int = at_least(2, 5)
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
        own = np.isin(holdout.labels.numpy(), members.labels.numpy())
        measured: dict[str, Measurement] = {}
        for name, signal in SIGNALS.items():
            inside, fitted, outside = (signal.of(each) for each in (members, retain, holdout))
            recall, spared = _judged(signal.rule, inside, fitted, outside, fold)
            judged = balanced_accuracy(recall, len(members.labels), spared[own].mean(), len(peers.labels))
            ranked = measure_ranking(inside.scores, outside.scores[own], self.bootstrap, seed) if signal.ranks else {}
            measured |= {
                f"mia_{name}_{what}": value for what, value in (ranked | {"balanced_accuracy": judged}).items()
            }
        return measured

    def rankings(self, evidence: Evidence) -> dict[str, MembershipScores]:
        """By confidence and both entropies."""
        pair = forget_and_peers(evidence.subject)
        return {
            f"mia_{name}": MembershipScores(*(signal.of(each).scores for each in pair))
            for name, signal in SIGNALS.items()
            if signal.ranks
        }


class Scored(NamedTuple):
    """Scores float64 [n], a high one speaking for membership, and labels int64 [n]."""

    scores: Floats
    labels: Ints

    def where(self, mask: Bools) -> Scored:
        """Those that `mask` [n] marks."""
        return Scored(self.scores[mask], self.labels[mask])


Rule = Callable[[Scored, Scored], Callable[[Ints], Floats]]  # members, others: thresholds of labels


class Signal(NamedTuple):
    """What speaks for membership, where one is judged a member, and whether it ranks as no other does."""

    score: Callable[[Predictions], Tensor]
    rule: Rule
    ranks: bool

    def of(self, predictions: Predictions) -> Scored:
        """The scores of predictions."""
        return Scored(self.score(predictions).numpy(), predictions.labels.numpy())


def entropy(predictions: Predictions) -> Tensor:
    """Shannon's, of the prediction, in nats; float64 [n]."""
    log_p = predictions.logits.double().log_softmax(1)
    return -(log_p.exp() * log_p).sum(1)


def modified_entropy(predictions: Predictions) -> Tensor:
    """-(1 - p_y) ln p_y - sum_{j != y} p_j ln(1 - p_j), 0 to infinity; float64 [n].

    ln(1 - p_j) of the most probable class is summed from the others: 1 - p_j would be rounded to 0.
    """
    log_p = predictions.logits.double().log_softmax(1)
    top, label = log_p.argmax(1, keepdim=True), predictions.labels[:, None]
    rest = log_p.scatter(1, top, -torch.inf).logsumexp(1, keepdim=True)
    log_not = torch.log1p(-log_p.exp()).scatter(1, top, rest)
    others = (log_p.exp() * log_not).scatter(1, label, 0.0).sum(1)
    return -(log_not.exp() * log_p).gather(1, label)[:, 0] - others


def by_class(members: Scored, others: Scored) -> Callable[[Ints], Floats]:
    """The best threshold of each class, or of all that both have together where it has under four of either."""
    both = np.intersect1d(members.labels, others.labels)
    pooled = [each.where(np.isin(each.labels, both)) for each in (members, others)]
    thresholds = {}
    for label in both:
        own = [each.where(each.labels == label).scores for each in (members, others)]
        if min(map(len, own)) >= FEWEST:
            thresholds[int(label)] = best_threshold(*own)
    general = best_threshold(*(each.scores for each in pooled))
    return lambda labels: np.array([thresholds.get(int(label), general) for label in labels])


def best_threshold(members: Floats, others: Floats) -> float:
    """The score from which on to say member for the best balanced accuracy, of those that occur; the lowest such."""
    candidates = np.unique(np.concatenate([members, others]))
    missed, spared = (np.searchsorted(np.sort(each), candidates) / len(each) for each in (members, others))
    return float(candidates[np.argmax(spared - missed)])


SIGNALS = {
    "correctness": Signal(is_correct, lambda members, others: lambda labels: np.ones(len(labels)), False),
    "confidence": Signal(confidence, by_class, True),
    "entropy": Signal(lambda found: -entropy(found), by_class, True),
    "modified_entropy": Signal(lambda found: -modified_entropy(found), by_class, True),
    "loss": Signal(
        lambda found: -cross_entropy(found),
        lambda members, others: lambda labels: np.full(len(labels), members.scores.mean()),
        False,
    ),
}
KEYS = tuple(
    f"mia_{name}_{what}"
    for name, signal in SIGNALS.items()
    for what in ((*RANKING, "balanced_accuracy") if signal.ranks else ("balanced_accuracy",))
)


def _judged(rule: Rule, members: Scored, retain: Scored, holdout: Scored, fold: Ints) -> tuple[float, Bools]:
    """The share of members judged so, the mean over folds; and which holdout samples are judged non-members, [n]."""
    recall, spared = list[float](), np.empty(len(holdout.scores), dtype=np.bool_)
    for number in np.unique(fold):
        held = fold == number
        thresholds = rule(retain, holdout.where(~held))
        recall.append((members.scores >= thresholds(members.labels)).mean())
        spared[held] = holdout.scores[held] < thresholds(holdout.labels[held])
    return float(np.mean(recall)), spared


def _folds(labels: Ints, folds: int, seed: int) -> Ints:
    """Which fold each sample is in, int64 [n]: a random part of each class."""
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    fold = np.empty(len(labels), dtype=np.int64)
    fold[order] = np.arange(len(labels)) % folds
    return fold


def _too_few_to_fit(retain: Predictions, holdout: Predictions) -> str | None:
    """Why no threshold can be fitted, if so, not even from half of holdout."""
    shared = int(torch.isin(holdout.labels, retain.labels).sum())
    if len(retain.labels) >= FEWEST and shared >= 2 * FEWEST:
        return None
    needed = f"at least {FEWEST} and {2 * FEWEST} are needed to fit thresholds"
    return f"{len(retain.labels)} samples of retain, {shared} of holdout of their classes; {needed}"
