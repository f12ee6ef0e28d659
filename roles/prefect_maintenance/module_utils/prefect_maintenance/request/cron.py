"""When a line of cron comes, as Debian's cron reads its five fields, in any time zone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache

# Name, least, most, and the names of its values, the first of which stands for the least.
_FIELDS: tuple[tuple[str, int, int, str], ...] = (
    ("minute", 0, 59, ""),
    ("hour", 0, 23, ""),
    ("day of the month", 1, 31, ""),
    ("month", 1, 12, "jan feb mar apr may jun jul aug sep oct nov dec"),
    ("day of the week", 0, 7, "sun mon tue wed thu fri sat"),
)
_PART = re.compile(r"(?:(?P<star>\*)|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d{1,4}))?")
_DAY, _MINUTE = timedelta(days=1), timedelta(minutes=1)
# 29 February falls on each day of the week within so many days.
_FURTHEST = 40 * 366


@dataclass(frozen=True)
class Cron:
    """A line of cron: five fields of lists, ranges, steps and names.

    Where both the day of the month and the day of the week are given, either is enough. A time
    that the clocks skip comes at the first instant after the gap, and one that they show twice
    comes the first time only, unless its minute or its hour begins with an asterisk: then it comes
    whenever the clock shows it.
    """

    text: str
    minutes: frozenset[int] = field(repr=False)
    hours: frozenset[int] = field(repr=False)
    days: frozenset[int] = field(repr=False)
    months: frozenset[int] = field(repr=False)
    weekdays: frozenset[int] = field(repr=False)
    _either_day: bool = field(repr=False)
    _as_shown: bool = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Cron:
        """Read a line of cron.

        Raises:
            ValueError: it is none, or never comes; the text says why.
        """
        words = text.lower().split()
        if len(words) != len(_FIELDS):
            raise ValueError(f"it has {len(words)} fields, not {len(_FIELDS)}")
        minutes, hours, days, months, weekdays = map(_values, words, _FIELDS)
        starred = [word.startswith("*") for word in words]
        cron = cls(
            " ".join(words), minutes, hours, days, months, frozenset(day % 7 for day in weekdays),
            not (starred[2] or starred[4]), starred[0] or starred[1],
        )  # fmt: skip
        # Of all years, leap years have every day that there is.
        if not any(cron._falls_on(date(2024, 1, 1) + n * _DAY, whichever=True) for n in range(366)):
            raise ValueError("no month has that day")
        return cron

    def latest(self, since: datetime, until: datetime, zone: tzinfo) -> datetime | None:
        """Return when it came last, after one instant and until another; None when it did not."""
        day, found = since.astimezone(zone).date() - _DAY, []
        while day <= until.astimezone(zone).date() + _DAY:
            found += [one for one in self._on(day, zone) if since < one <= until]
            day += _DAY
        return max(found, default=None)

    def following(self, after: datetime, zone: tzinfo) -> datetime | None:
        """Return when it comes next after an instant; None when that is not in forty years."""
        first = after.astimezone(zone).date() - _DAY
        for number in range(_FURTHEST):
            day = first + number * _DAY
            # Clocks that are put back across midnight show a day's end after the next one's begin.
            near = [*self._on(day, zone), *self._on(day + _DAY, zone)]
            if found := [one for one in near if one > after]:
                return min(found)
        return None

    def _on(self, day: date, zone: tzinfo) -> tuple[datetime, ...]:
        return _instants(self, day, zone) if self._falls_on(day) else ()

    def _falls_on(self, day: date, *, whichever: bool = False) -> bool:
        """Tell whether it comes on a day; `whichever` day of the week that is."""
        if day.month not in self.months:
            return False
        in_month, in_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return in_month or in_week if self._either_day else in_month and (whichever or in_week)

    def shown(self, local: datetime, zone: tzinfo) -> Iterator[datetime]:
        """Yield the instants at which it comes because of a time that clocks show, if they do."""
        first, second = (
            local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)
        )  # fmt: skip
        if first.astimezone(zone).replace(tzinfo=None) == local:
            yield first
            if second != first and self._as_shown:
                yield second
        elif not self._as_shown:
            # Within a gap the second reading lies before it and the first one after it.
            after = first.astimezone(zone).utcoffset()
            while second.astimezone(zone).utcoffset() != after:
                second += _MINUTE
            yield second


@lru_cache(maxsize=128)
def _instants(cron: Cron, day: date, zone: tzinfo) -> tuple[datetime, ...]:
    times = [(hour, minute) for hour in sorted(cron.hours) for minute in sorted(cron.minutes)]
    return tuple(
        instant
        for hour, minute in times
        for instant in cron.shown(datetime(day.year, day.month, day.day, hour, minute), zone)
    )


def _values(word: str, known: tuple[str, int, int, str]) -> frozenset[int]:
    name, least, most, names = known
    found: set[int] = set()
    for part in word.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError(f"its {name} cannot be read")
        first, last = least, most
        if not match["star"]:
            first = _value(match["first"], name, least, names)
            last = _value(match["last"], name, least, names) if match["last"] else first
            if match["step"] and not match["last"]:
                last = most
        step = int(match["step"] or 1)
        if not (least <= first <= last <= most and step):
            raise ValueError(f"its {name} must be from {least} to {most}, in order")
        found.update(range(first, last + 1, step))
    return frozenset(found)


def _value(word: str, name: str, least: int, names: str) -> int:
    if word in names.split():
        return least + names.split().index(word)
    if not re.fullmatch("[0-9]{1,4}", word):
        raise ValueError(f"its {name} cannot be read")
    return int(word)
