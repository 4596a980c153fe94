"""What `retrain.py` must hold to, on tables made up here: run with `python -m unittest` in this directory."""

import unittest

import numpy
import pandas

import retrain

NAMES = ["amount", "count"]


def table(rows=6000, frauds=600, seed=0, **columns):
    random = numpy.random.default_rng(seed)
    label = numpy.zeros(rows)
    label[random.choice(rows, frauds, replace=False)] = 1.0
    return pandas.DataFrame({
        "transaction_id": [f"t-{number}" for number in range(rows)],
        "occurred_at": pandas.Timestamp("2026-01-01", tz="UTC") + pandas.to_timedelta(numpy.arange(rows), unit="min"),
        "amount": random.normal(size=rows) + 2 * label,
        "count": random.normal(size=rows),
        "label": label,
        "weight": 1.0,
        "score": numpy.nan,
        "entity": "",
    } | columns)


class Slice(unittest.TestCase):
    def test_it_is_the_newest_and_has_frauds_enough(self):
        made = table()
        begin = retrain.newest_slice(made)
        newest = made[made["occurred_at"] >= begin]
        self.assertEqual(int(newest["label"].sum()), 150)
        self.assertEqual(newest.index[-1], made.index[-1])

    def test_too_few_frauds_are_said(self):
        with self.assertRaises(retrain.TooLittle):
            retrain.newest_slice(table(frauds=retrain.FRAUDS_MIN - 1))
        at_once = table()
        at_once["occurred_at"] = at_once["occurred_at"].iloc[0]
        with self.assertRaises(retrain.TooLittle):
            retrain.newest_slice(at_once)


class Weights(unittest.TestCase):
    def test_nobody_teaches_the_model_alone(self):
        made = table(frauds=400)
        frauds = made.index[made["label"] == 1]
        made.loc[frauds[:200], "entity"] = "poisoner"
        made.loc[frauds[200:210], "entity"] = "victim"
        weight = retrain.weights(made)
        self.assertAlmostEqual(weight[frauds[:200]].sum(), 20.0)
        self.assertTrue((weight[frauds[200:]] == 1).all())
        self.assertTrue((weight[(made["label"] == 0).to_numpy()] == 1).all())

    def test_thinning_keeps_frauds_and_what_genuine_rows_stand_for(self):
        made = table(rows=6000, frauds=500)
        thin = retrain.thinned(made, rows_max=2000)
        self.assertEqual((len(thin), int(thin["label"].sum())), (2000, 500))
        self.assertAlmostEqual(thin.loc[thin["label"] == 0, "weight"].sum(), 5500)
        self.assertTrue(thin["occurred_at"].is_monotonic_increasing)
        self.assertIs(retrain.thinned(made, rows_max=6000), made)


class Learn(unittest.TestCase):
    SETTINGS = [("xgboost", {"trees": 20, "depth": 2, "rate": 0.3}), ("lightgbm", {"trees": 20, "leaves": 4, "rate": 0.3})]

    def test_the_best_is_taken_and_judged_on_rows_it_has_not_seen(self):
        made = table()
        learned = retrain.learn(made, NAMES, 600, self.SETTINGS)
        self.assertEqual(len(learned.tried), 2)
        best = max(row["average_precision"] for row in learned.tried)
        self.assertEqual(round(learned.average_precision, 4), best)
        self.assertGreater(learned.average_precision, 0.5)
        self.assertLess(learned.train["occurred_at"].max(), learned.slice["occurred_at"].min())
        self.assertIsNone(learned.beside, "no score is on record")

    def test_one_setting_is_tried_without_time(self):
        self.assertEqual(len(retrain.learn(table(), NAMES, 0, self.SETTINGS).tried), 1)

    def test_the_active_model_is_compared_on_the_same_rows(self):
        made = table()
        perfect = retrain.learn(made.assign(score=made["label"]), NAMES, 0, self.SETTINGS)
        self.assertEqual(perfect.beside, 1.0)
        self.assertLess(perfect.candidate_beside, perfect.beside)
        blind = retrain.learn(made.assign(score=0.5), NAMES, 0, self.SETTINGS)
        self.assertGreater(blind.candidate_beside, 3 * blind.beside)
        # Scores on a few frauds only say nothing.
        few = made.assign(score=0.5)
        few.loc[few.index[:-100], "score"] = numpy.nan
        self.assertIsNone(retrain.learn(few, NAMES, 0, self.SETTINGS).beside)

    def test_weights_count_in_the_verdict(self):
        made = table(weight=numpy.where(numpy.arange(6000) % 2 == 0, 1.0, 50.0))
        learned = retrain.learn(made, NAMES, 0, self.SETTINGS)
        plain = retrain.average_precision_score(learned.slice["label"], learned.scores)
        self.assertNotAlmostEqual(learned.average_precision, plain, places=6)


if __name__ == "__main__":
    unittest.main()
