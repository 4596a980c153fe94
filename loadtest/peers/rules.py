"""The twenty rules of config/rules.toml as Python functions, and their verdicts as ready JSON.

A rule reads `f` (features by name, NaN where missing), `t` (the transaction) and `s` (the score or None).
Comparisons with NaN are false, so a rule over a missing feature does not hit; fraudd says `absent` beside it.
"""

import orjson


def _card(t, name):
    return (t.get("card") or {}).get(name)


def _merchant(t, name):
    return (t.get("merchant") or {}).get(name)


def _abroad(t):
    billing, shipping = (t.get("billing") or {}).get("country"), (t.get("shipping") or {}).get("country")
    return billing is not None and shipping is not None and billing != shipping


def _mismatch(t):
    card, merchant = _card(t, "country"), _merchant(t, "country")
    return card is not None and merchant is not None and card != merchant


def _authentication_failed(t):
    seen = t.get("authentication") or {}
    return seen.get("three_ds") in ("failed", "rejected") or seen.get("cvc") in ("failed", "no_match")


def _remote(t):
    return t.get("channel") in ("ecommerce", "moto")


# id, weight or outcome, code, description, condition
RULES = [
    ("card-velocity-5m", 250, "CARD_VELOCITY", "Five or more payments with this card within five minutes.",
     lambda f, t, s: f["card_count_5m"] >= 5.0),
    ("card-failures-1h", 300, "CARD_FAILURES", "Three or more refused payments with this card within an hour.",
     lambda f, t, s: f["card_failures_1h"] >= 3.0),
    ("card-spend-24h", 150, "CARD_SPEND", "Many payments and a high sum with this card within a day.",
     lambda f, t, s: f["card_amount_24h"] >= 3000.0 and f["card_count_24h"] >= 10.0),
    ("device-many-cards-24h", 300, "DEVICE_MANY_CARDS", "Four or more cards were used on this device within a day.",
     lambda f, t, s: f["device_distinct_cards_24h"] >= 4.0),
    ("device-velocity-1h", 150, "DEVICE_VELOCITY", "Fifteen or more payments from this device within an hour.",
     lambda f, t, s: f["device_count_1h"] >= 15.0),
    ("email-velocity-1h", 120, "EMAIL_VELOCITY", "Eight or more payments under this e-mail address within an hour.",
     lambda f, t, s: f["email_count_1h"] >= 8.0),
    ("bin-attack-1h", 250, "BIN_ATTACK", "More than half of the payments with cards of this BIN were refused within an hour.",
     lambda f, t, s: f["bin_failures_1h"] >= 20.0 and f["bin_failures_1h"] > 0.5 * f["bin_count_1h"]),
    ("card-testing-small-amount", "decline", "CARD_TESTING",
     "A small amount after several refused payments on the same device looks like card testing.",
     lambda f, t, s: f["amount"] < 5.0 and f["device_failures_1h"] >= 3.0 and _remote(t)),
    ("amount-high", 100, "AMOUNT_HIGH", "The amount is high.",
     lambda f, t, s: f["amount"] >= 1000.0),
    ("amount-unusual-for-customer", 200, "AMOUNT_UNUSUAL", "The amount is far above what this customer usually pays.",
     lambda f, t, s: f["amount_zscore_customer_30d"] > 4.0 and f["amount_over_customer_mean_30d"] > 3.0),
    ("amount-high-at-night", 60, "AMOUNT_AT_NIGHT", "A high amount at night.",
     lambda f, t, s: f["is_night"] == 1.0 and f["amount"] >= 500.0),
    ("prepaid-amount-high", 100, "PREPAID_AMOUNT", "A high amount on a prepaid card.",
     lambda f, t, s: f["amount"] >= 300.0 and _card(t, "funding") == "prepaid"),
    ("card-country-mismatch", 120, "COUNTRY_MISMATCH",
     "The card was issued in another country than the merchant's, and the amount is not small.",
     lambda f, t, s: f["amount"] >= 200.0 and _mismatch(t)),
    ("shipping-abroad", 80, "SHIPPING_ABROAD", "Goods are shipped to another country than the bill.",
     lambda f, t, s: _remote(t) and _abroad(t)),
    ("impossible-travel", 350, "IMPOSSIBLE_TRAVEL", "The card moved faster than an airliner since its last payment.",
     lambda f, t, s: f["card_geo_velocity_kmh"] > 900.0),
    ("new-device-unusual-amount", 200, "NEW_DEVICE", "The customer pays more than usual from a device not seen before.",
     lambda f, t, s: f["customer_new_device"] == 1.0 and f["amount_over_customer_mean_30d"] > 2.0),
    ("terminal-frauds", 400, "TERMINAL_FRAUD", "Most of the last known payments at this terminal were fraud.",
     lambda f, t, s: f["terminal_last5_fraud_share"] >= 0.6),
    ("customer-fraud-30d", 250, "CUSTOMER_FRAUD", "A payment of this customer was confirmed as fraud within 30 days.",
     lambda f, t, s: f["customer_fraud_count_30d"] >= 1.0),
    ("authentication-failed", "review", "AUTHENTICATION_FAILED",
     "The card holder did not pass 3-D Secure, or the card's check code was wrong.",
     lambda f, t, s: _authentication_failed(t)),
    ("score-high-on-new-card", "shadow", "NEW_CARD_SCORE", "The model is not at ease and the card is new to us.",
     lambda f, t, s: s is not None and s >= 0.3 and f["card_count_7d"] <= 1.0 and f["amount"] >= 100.0),
]

SEVERITY = {"approve": 0, "review": 1, "challenge": 2, "decline": 3}


def _fragment(rule, outcome):
    told = {"id": rule[0], "version": 1, "outcome": outcome, "weight": rule[1] if isinstance(rule[1], int) else 0}
    if isinstance(rule[1], str) and rule[1] in SEVERITY:
        told["asks_for"] = rule[1]
    return orjson.Fragment(orjson.dumps(told))


# Verdicts change with the transaction, their text does not.
VERDICTS = [(_fragment(rule, "no_hit"), _fragment(rule, "hit")) for rule in RULES]
CONDITIONS = [rule[4] for rule in RULES]


def evaluate(features, tx, score):
    """Returns the verdicts as JSON fragments, and the active rules that hit."""
    verdicts, hits = [], []
    for condition, verdict, rule in zip(CONDITIONS, VERDICTS, RULES):
        if condition(features, tx, score):
            if rule[1] == "shadow":
                continue
            hits.append(rule)
            verdicts.append(verdict[1])
        elif rule[1] != "shadow":
            verdicts.append(verdict[0])
    return verdicts, hits
