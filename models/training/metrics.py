"""Quality of scores, as the fraud-detection handbook and scikit-learn define it."""

import numpy
from sklearn.metrics import average_precision_score, roc_auc_score


def card_precision(days, cards, scores, labels, top=100):
    """Mean over days of the share of compromised cards among the `top` cards of the day.

    A card's score and label are its highest of the day; a card found on an earlier day is not looked at again. Ties go to
    the smaller card. The share is of `top`, also on a day with fewer cards.
    """
    found, precisions = set(), []
    for day in numpy.unique(days):
        today = days == day
        best = {}
        for card, score, label in zip(cards[today], scores[today], labels[today]):
            if card not in found:
                known = best.get(card, (-numpy.inf, False))
                best[card] = (max(known[0], score), known[1] or bool(label))
        ranked = sorted(best.items(), key=lambda item: (-item[1][0], item[0]))[:top]
        hits = [card for card, (_, label) in ranked if label]
        precisions.append(len(hits) / top)
        found.update(hits)
    return float(numpy.mean(precisions))


def evaluate(days, cards, scores, labels):
    """The three figures of the handbook."""
    return {
        "auc": float(roc_auc_score(labels, scores)),
        "average_precision": float(average_precision_score(labels, scores)),
        "card_precision_100": card_precision(days, cards, scores, labels),
    }
