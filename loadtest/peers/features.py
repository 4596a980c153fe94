"""The features of models/schemas/card-fraud.toml in plain Python, as fast as we know to write them.

    transaction ──> one history per entity ──> 101 features by name
                    times, running sums          NaN where there is nothing to compute from

A history keeps its events sorted by time beside running sums, so a window is two binary searches and a
subtraction, whatever its length. Integers are summed as integers: sums are exact, as in fraudd. What this
file does not do, and fraudd does: see one transaction id twice and count it once, take another schema.
`check_parity.py` holds every value against `fraudd features`.
"""

from bisect import bisect_left, bisect_right
from math import asin, cos, nan, radians, sin, sqrt

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

# Events kept per entity: fraudd's default. Trimmed only at twice that, so that trimming costs little.
EVENTS_MAX = 4_096
EARTH_RADIUS_KM = 6_371.0088
CARD_UNSEEN_SECONDS = 2_592_000.0
LOCATION_UNSEEN_SECONDS = 604_800.0

# What stands for a feature without a value, where it is not 0.
MISSING = {
    "card_seconds_since_last": CARD_UNSEEN_SECONDS,
    "customer_seconds_since_last": CARD_UNSEEN_SECONDS,
    "card_seconds_since_located": LOCATION_UNSEEN_SECONDS,
    "amount_over_customer_mean_7d": 1.0,
    "amount_over_customer_mean_30d": 1.0,
}


class History:
    """Events of one entity, oldest first, with sums of everything before each."""

    __slots__ = ("times", "amounts", "failures")

    def __init__(self):
        self.times = []
        self.amounts = [0]
        self.failures = [0]

    def columns(self):
        """The columns beside `times` that have one value an event."""
        return ()

    def sums(self):
        """The columns of running sums, each one longer than `times`."""
        return (self.amounts, self.failures)

    def velocity(self, time, amount, failed):
        """Count, amount and failures over 5 m, 1 h, 24 h and 7 d, the current event inside."""
        times, amounts, failures = self.times, self.amounts, self.failures
        end = len(times)
        if end and times[-1] > time:
            end = bisect_right(times, time)
        total, failed_total = amounts[end] + amount, failures[end] + failed
        # The windows nest: each search ends where the narrower window begins.
        week = bisect_right(times, time - 7 * DAY, 0, end)
        day = bisect_right(times, time - DAY, week, end)
        hour = bisect_right(times, time - HOUR, day, end)
        recent = bisect_right(times, time - 5 * MINUTE, hour, end)
        return (
            end,
            day,
            week,
            (end - recent + 1.0, (total - amounts[recent]) / 100, float(failed_total - failures[recent])),
            (end - hour + 1.0, (total - amounts[hour]) / 100, float(failed_total - failures[hour])),
            (end - day + 1.0, (total - amounts[day]) / 100, float(failed_total - failures[day])),
            (end - week + 1.0, (total - amounts[week]) / 100, float(failed_total - failures[week])),
        )

    def insert(self, place, time, steps, values=()):
        """Puts an event at its place; `steps` are added to every running sum from there on."""
        times = self.times
        if place == len(times):
            times.append(time)
            for sums, step in zip(self.sums(), steps):
                sums.append(sums[-1] + step)
            for column, value in zip(self.columns(), values):
                column.append(value)
        else:
            times.insert(place, time)
            for sums, step in zip(self.sums(), steps):
                sums[place + 1 :] = [sums[place] + step, *(later + step for later in sums[place + 1 :])]
            for column, value in zip(self.columns(), values):
                column.insert(place, value)
        if len(times) > 2 * EVENTS_MAX:
            for column in (times, *self.sums(), *self.columns()):
                del column[:EVENTS_MAX]


class Device(History):
    __slots__ = ("cards",)

    def __init__(self):
        super().__init__()
        self.cards = []

    def columns(self):
        return (self.cards,)


class Card(History):
    __slots__ = ("merchants", "locations")

    def __init__(self):
        super().__init__()
        self.merchants = []
        self.locations = []

    def columns(self):
        return (self.merchants, self.locations)


class Customer(History):
    __slots__ = ("squares", "countries", "devices", "labelled")

    def __init__(self):
        super().__init__()
        self.squares = [0]
        self.countries = []
        self.devices = []
        self.labelled = []

    def columns(self):
        return (self.countries, self.devices)

    def sums(self):
        return (self.amounts, self.failures, self.squares)


class Terminal:
    """Events of one terminal; few of them are labelled, so labels are apart: (time, known at, fraud)."""

    __slots__ = ("times", "labelled")

    def __init__(self):
        self.times = []
        self.labelled = []

    def insert(self, time):
        times = self.times
        if times and times[-1] > time:
            times.insert(bisect_right(times, time), time)
        else:
            times.append(time)
        if len(times) > 2 * EVENTS_MAX:
            del times[:EVENTS_MAX]


class Panes:
    """Running sums by stretches of time, for entities too hot to keep every event."""

    __slots__ = ("resolution", "window", "indexes", "newest", "counts", "amounts")

    def __init__(self, resolution, window):
        self.resolution, self.window = resolution, window
        self.indexes, self.newest, self.counts, self.amounts = [], [], [0], [0]

    def read(self, time):
        """Count and amount of the window that ends at `time`; a pane with later events is left out."""
        indexes, last = self.indexes, time // self.resolution
        end = bisect_left(indexes, last)
        if end < len(indexes) and indexes[end] == last and self.newest[end] <= time:
            end += 1
        start = bisect_right(indexes, (time - self.window) // self.resolution, 0, end)
        return self.counts[end] - self.counts[start], self.amounts[end] - self.amounts[start]

    def insert(self, time, amount):
        indexes, counts, amounts = self.indexes, self.counts, self.amounts
        index = time // self.resolution
        place = bisect_left(indexes, index)
        if place == len(indexes):
            indexes.append(index)
            self.newest.append(time)
            counts.append(counts[-1])
            amounts.append(amounts[-1])
        elif indexes[place] != index:
            indexes.insert(place, index)
            self.newest.insert(place, time)
            counts.insert(place, counts[place])
            amounts.insert(place, amounts[place])
        if self.newest[place] < time:
            self.newest[place] = time
        for later in range(place + 1, len(counts)):
            counts[later] += 1
            amounts[later] += amount
        if len(indexes) > 512:
            for column in (indexes, self.newest, counts, amounts):
                del column[:256]


class Bin:
    """A card prefix: panes of all payments and of the refused ones, per window."""

    __slots__ = ("all", "failed")
    WINDOWS = ((15 * SECOND, 5 * MINUTE), (2 * MINUTE, HOUR), (HOUR, DAY), (6 * HOUR, 7 * DAY))

    def __init__(self):
        self.all = [Panes(*window) for window in self.WINDOWS]
        self.failed = [Panes(*window) for window in self.WINDOWS]

    def observe(self, time, amount, failed):
        found = []
        for panes, refused in zip(self.all, self.failed):
            count, total = panes.read(time)
            found.append((count + 1.0, (total + amount) / 100, float(refused.read(time)[0] + failed)))
            panes.insert(time, amount)
            if failed:
                refused.insert(time, amount)
        return found


ABSENT = (nan, nan, nan)


class Features:
    """The state of every entity, and the features of one transaction after another."""

    def __init__(self):
        self.customers, self.terminals, self.cards = {}, {}, {}
        self.bins, self.devices, self.emails = {}, {}, {}
        self.events = {}  # transaction id -> time, customer id, terminal id: what a label needs
        self.pending = {}

    def observe(self, tx, time):
        """Computes the features of `tx` (a checked transaction as nested dicts) and keeps it."""
        amount = tx["amount"]
        card, merchant, device = tx.get("card") or {}, tx.get("merchant") or {}, tx.get("device") or {}
        result = (tx.get("authorisation") or {}).get("result")
        failed = 1 if result is not None and result != "approved" else 0
        token, device_id, country = card.get("token"), device.get("id"), merchant.get("country")
        location = tx.get("location")
        major = amount / 100
        hour = time // HOUR % 24
        weekend = 1.0 if (time // DAY + 3) % 7 >= 5 else 0.0
        night = 1.0 if hour <= 6 else 0.0
        features = {"tx_amount": major, "tx_during_weekend": weekend, "tx_during_night": night}
        self._customer(features, tx, (time, amount, failed), country, device_id)
        self._terminal(features, merchant.get("terminal_id"), time)
        self._card(features, token, (time, amount, failed), merchant.get("id"), location)
        key = card.get("bin")
        if key is None:
            windows = (ABSENT,) * 4
        else:
            windows = self._entity(self.bins, key, Bin).observe(time, amount, failed)
        self._write(features, "bin", windows)
        self._device(features, device_id, (time, amount, failed), token)
        key = tx.get("email_hash")
        windows = (ABSENT,) * 4
        if key is not None:
            email = self._entity(self.emails, key, History)
            end, _, _, *windows = email.velocity(time, amount, failed)
            email.insert(end, time, (amount, failed))
        self._write(features, "email", windows)
        self._mismatches(features, tx, card.get("country"), country)
        channel = tx.get("channel")
        features |= {
            "amount": major,
            "hour": float(hour),
            "is_weekend": weekend,
            "is_night": night,
            "is_ecommerce": nan if channel is None else 1.0 if channel == "ecommerce" else 0.0,
        }
        self.events[tx["transaction_id"]] = (time, tx.get("customer_id"), merchant.get("terminal_id"))
        if self.pending and (label := self.pending.pop(tx["transaction_id"], None)):
            self.label(tx["transaction_id"], *label)
        return features

    @staticmethod
    def _entity(store, key, kind):
        found = store.get(key)
        if found is None:
            found = store[key] = kind()
        return found

    @staticmethod
    def _write(features, name, windows):
        (
            (features[name + "_count_5m"], features[name + "_amount_5m"], features[name + "_failures_5m"]),
            (features[name + "_count_1h"], features[name + "_amount_1h"], features[name + "_failures_1h"]),
            (features[name + "_count_24h"], features[name + "_amount_24h"], features[name + "_failures_24h"]),
            (features[name + "_count_7d"], features[name + "_amount_7d"], features[name + "_failures_7d"]),
        ) = windows

    def _customer(self, features, tx, event, country, device_id):
        key = tx.get("customer_id")
        if key is None:
            self._write(features, "customer", (ABSENT,) * 4)
            features.update(CUSTOMER_ABSENT)
            return
        time, amount, failed = event
        customer = self._entity(self.customers, key, Customer)
        end, day, week, *windows = customer.velocity(time, amount, failed)
        self._write(features, "customer", windows)
        times, amounts = customer.times, customer.amounts
        month = bisect_right(times, time - 30 * DAY, 0, week)
        count, total = end - month, amounts[end] - amounts[month]
        squares = customer.squares[end] - customer.squares[month]
        own_week = (amounts[end] - amounts[week]) / (end - week) / 100 if end > week else nan
        own, std = nan, nan
        if count:
            own = total / count / 100
            std = sqrt((count * squares - total * total) / (count * count)) / 100
        countries = set(customer.countries[day:end])
        countries.add(country)
        countries.discard(None)
        known = nan if device_id is None else float(customer.devices[month:end].count(device_id))
        major = amount / 100
        (count_24h, amount_24h, _), (count_7d, amount_7d, _) = windows[2:]
        frauds = 0
        for labelled, known_at, fraud in customer.labelled:
            frauds += fraud and known_at <= time and time - 30 * DAY < labelled <= time
        features |= {
            "customer_nb_tx_1d": count_24h,
            "customer_avg_amount_1d": (amounts[end] - amounts[day] + amount) / count_24h / 100,
            "customer_nb_tx_7d": count_7d,
            "customer_avg_amount_7d": (amounts[end] - amounts[week] + amount) / count_7d / 100,
            "customer_nb_tx_30d": count + 1.0,
            "customer_avg_amount_30d": (total + amount) / (count + 1) / 100,
            "customer_distinct_countries_24h": float(len(countries)),
            "customer_seconds_since_last": (time - times[end - 1]) / 1e6 if count else nan,
            "customer_own_mean_7d": own_week,
            "customer_own_mean_30d": own,
            "customer_own_std_30d": std,
            "amount_over_customer_mean_7d": nan if own_week != own_week else major / own_week if own_week > 0.0 else 1.0,
            "amount_over_customer_mean_30d": nan if own != own else major / own if own > 0.0 else 1.0,
            "amount_zscore_customer_30d": nan if std != std else (major - own) / std if std > 0.0 else 0.0,
            "customer_device_count_30d": known,
            "customer_new_device": nan if known != known else 1.0 if known == 0.0 else 0.0,
            "customer_fraud_count_30d": float(frauds),
        }
        customer.insert(end, time, (amount, failed, amount * amount), (country, device_id))

    def _terminal(self, features, key, time):
        if key is None:
            features.update(TERMINAL_ABSENT)
            return
        terminal = self._entity(self.terminals, key, Terminal)
        times, until = terminal.times, time - 7 * DAY
        end = bisect_right(times, until)
        month = bisect_right(times, until - 30 * DAY, 0, end)
        week = bisect_right(times, until - 7 * DAY, month, end)
        day = bisect_right(times, until - DAY, week, end)
        fraud_times = []
        share = nan
        if terminal.labelled:
            seen = [mark for mark in terminal.labelled if mark[1] <= time and time - 60 * DAY < mark[0] <= time]
            newest = seen[-5:]
            share = sum(mark[2] for mark in newest) / len(newest) if newest else nan
            fraud_times = [mark[0] for mark in seen if mark[2] and mark[0] <= until]
        frauds = len(fraud_times)
        for name, start, window in (("1d", day, DAY), ("7d", week, 7 * DAY), ("30d", month, 30 * DAY)):
            count = end - start
            found = frauds - bisect_right(fraud_times, until - window) if frauds else 0
            features["terminal_nb_tx_" + name] = float(count)
            features["terminal_risk_" + name] = found / count if count else nan
        features["terminal_last5_fraud_share"] = share
        terminal.insert(time)

    def _card(self, features, key, event, merchant, location):
        if key is None:
            self._write(features, "card", (ABSENT,) * 4)
            features.update(CARD_ABSENT)
            return
        time, amount, failed = event
        card = self._entity(self.cards, key, Card)
        end, day, week, *windows = card.velocity(time, amount, failed)
        self._write(features, "card", windows)
        merchants = set(card.merchants[day:end])
        merchants.add(merchant)
        merchants.discard(None)
        times = card.times
        since = (time - times[end - 1]) / 1e6 if end and times[end - 1] > time - 30 * DAY else nan
        place = end - 1
        while place >= week and card.locations[place] is None:
            place -= 1
        latitude = longitude = located = velocity = nan
        if place >= week:
            latitude, longitude = card.locations[place]
            located = (time - times[place]) / 1e6
        here = None
        if location is not None:
            here = (float(location["lat"]), float(location["lon"]))
            if place >= week:
                velocity = haversine_km(latitude, longitude, *here) * 3600.0 / max(located, 60.0)
        features |= {
            "card_distinct_merchants_24h": float(len(merchants)),
            "card_seconds_since_last": since,
            "card_last_latitude": latitude,
            "card_last_longitude": longitude,
            "card_seconds_since_located": located,
            "card_geo_velocity_kmh": velocity,
        }
        card.insert(end, time, (amount, failed), (merchant, here))

    def _device(self, features, key, event, token):
        if key is None:
            self._write(features, "device", (ABSENT,) * 4)
            features["device_distinct_cards_24h"] = nan
            return
        time, amount, failed = event
        device = self._entity(self.devices, key, Device)
        end, day, _, *windows = device.velocity(time, amount, failed)
        self._write(features, "device", windows)
        cards = set(device.cards[day:end])
        cards.add(token)
        cards.discard(None)
        features["device_distinct_cards_24h"] = float(len(cards))
        device.insert(end, time, (amount, failed), (token,))

    @staticmethod
    def _mismatches(features, tx, card_country, country):
        billing, shipping = (tx.get("billing") or {}).get("country"), (tx.get("shipping") or {}).get("country")
        features["country_mismatch"] = _differ(card_country, country)
        features["billing_shipping_mismatch"] = _differ(billing, shipping)

    def label(self, transaction_id, fraud, known_at):
        """Marks a transaction, known or yet to come, as fraud or not from `known_at` on; one label each."""
        event = self.events.get(transaction_id)
        if event is None:
            self.pending[transaction_id] = (fraud, known_at)
            return
        time, customer, terminal = event
        for store, key in ((self.customers, customer), (self.terminals, terminal)):
            if key is not None:
                marks = store[key].labelled
                marks.insert(bisect_right(marks, time, key=lambda mark: mark[0]), (time, known_at, fraud))


CUSTOMER_ABSENT = dict.fromkeys(
    [
        *(f"customer_{name}_{window}" for name in ("nb_tx", "avg_amount") for window in ("1d", "7d", "30d")),
        *("customer_distinct_countries_24h", "customer_seconds_since_last", "customer_own_mean_7d"),
        *("customer_own_mean_30d", "customer_own_std_30d", "amount_over_customer_mean_7d"),
        *("amount_over_customer_mean_30d", "amount_zscore_customer_30d", "customer_device_count_30d"),
        *("customer_new_device", "customer_fraud_count_30d"),
    ],
    nan,
)
TERMINAL_ABSENT = dict.fromkeys(
    [
        *(f"terminal_{name}_{window}" for name in ("nb_tx", "risk") for window in ("1d", "7d", "30d")),
        "terminal_last5_fraud_share",
    ],
    nan,
)
CARD_ABSENT = dict.fromkeys(
    [
        *("card_distinct_merchants_24h", "card_seconds_since_last", "card_last_latitude", "card_last_longitude"),
        *("card_seconds_since_located", "card_geo_velocity_kmh"),
    ],
    nan,
)


def _differ(one, other):
    return nan if one is None or other is None else 1.0 if one != other else 0.0


def haversine_km(from_lat, from_lon, to_lat, to_lon):
    """The great-circle distance in kilometres."""
    from_lat_rad, to_lat_rad = radians(from_lat), radians(to_lat)
    half_lat = sin((to_lat_rad - from_lat_rad) / 2.0)
    half_lon = sin(radians(to_lon - from_lon) / 2.0)
    chord = half_lat * half_lat + cos(from_lat_rad) * cos(to_lat_rad) * half_lon * half_lon
    return 2.0 * EARTH_RADIUS_KM * asin(sqrt(min(chord, 1.0)))
