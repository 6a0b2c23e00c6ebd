#!/usr/bin/python3
"""What croniter says of thousands of expressions, as lines "expression TAB start TAB times".

    cron_oracle.py PROGRAM      feed the lines to `PROGRAM --oracle`, and end as it ends
    cron_oracle.py              print them

The times are the five after the start and then the two before it, in seconds, all in UTC. The program
reads the expressions as Debian's cron does; croniter is of use where it means the same. Where it is
wrong, or means something else, is the list OTHERWISE: nothing of that kind is made up here, and each
of its rows must really be different, so that the list does not outlive a mended croniter unseen.
"""
import calendar
import datetime
import random
import re
import subprocess
import sys

import croniter

FIELDS = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)]
MONTHS = [name.lower() for name in calendar.month_abbr]
DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
START = datetime.datetime(2026, 1, 1)
# expression, first time after START in Debian's cron (as its source, and its manual, have it), why
OTHERWISE = [
    ("0 9 */10 * 0", "2026-01-11T09:00", "a day field that begins with * is ANDed: croniter ORs"),
    ("0 9 */2 * 1", "2026-01-05T09:00", "the same"),
    ("0 9 2 * */2", "2026-04-02T09:00", "the same in the day of the week"),
    ("0 9 1-31 * 1", "2026-01-01T09:00", "a full range restricts: croniter reads it as *"),
    ("0 9 13 * 0-6", "2026-01-01T09:00", "the same in the day of the week"),
]


def value(rng, field, number):
    if field == 3 and rng.random() < 0.3:
        return rng.choice([str.upper, str.lower, str.title])(MONTHS[number])
    if field == 4 and rng.random() < 0.3:
        return rng.choice([str.upper, str.lower])(DAYS[number])
    return str(number)


def item(rng, field):
    low, high = FIELDS[field]
    first = rng.randint(low, high)
    kind = rng.random()
    if kind < 0.5 or first == high:
        return value(rng, field, first)
    last = rng.randint(first + 1, high)
    text = f"{value(rng, field, first)}-{value(rng, field, last)}"
    return text if kind < 0.8 else f"{text}/{rng.randint(1, last - first)}"


def field_text(rng, field, starred):
    if starred:
        if rng.random() < 0.7 or field in (2, 4):
            return "*"
        return f"*/{rng.randint(1, FIELDS[field][1])}"
    while True:
        text = ",".join(item(rng, field) for _ in range(rng.choice((1, 1, 1, 2, 3))))
        # What croniter collapses to * is the list's business.
        if field not in (2, 4) or not covers(text, field):
            return text


def covers(text, field):
    """Every day of the field is in the list; said by croniter's own expansion."""
    return croniter.croniter.expand(" ".join(
        text if index == field else "*" for index in range(5)))[0][field] == ["*"]


def made_up(rng, count):
    while count:
        text = " ".join(field_text(rng, field, rng.random() < 0.45) for field in range(5))
        count -= 1
        yield text


def seconds(moment):
    return int(moment.replace(tzinfo=datetime.timezone.utc).timestamp())


def passes_leap_day(first, last):
    return any(calendar.isleap(year) and first < datetime.datetime(year, 3, 1) and
               last > datetime.datetime(year, 2, 28) for year in range(first.year, last.year + 1))


def times(text, start):
    forward, back = croniter.croniter(text, start), croniter.croniter(text, start)
    found = [seconds(forward.get_next(datetime.datetime)) for _ in range(5)]
    before = [back.get_prev(datetime.datetime) for _ in range(2)]
    # Backwards croniter 1.3 steps over February 29.
    return found + ([] if passes_leap_day(before[-1], start) else [seconds(at) for at in before])


def lines():
    rng = random.Random(20260411)
    for text in made_up(rng, 2500):
        start = START + datetime.timedelta(seconds=rng.randint(-10**8, 10**8) // 30 * 30)
        try:
            found = times(text, start)
        except croniter.CroniterBadDateError:
            continue  # none within its 50 years, or never
        yield f"{text}\t{seconds(start)}\t{' '.join(map(str, found))}\n"
    for text, first, _ in OTHERWISE:
        expected = datetime.datetime.fromisoformat(first)
        found = croniter.croniter(text, START).get_next(datetime.datetime)
        if found == expected:
            sys.exit(f"cron_oracle.py: croniter has been mended: {text}")
        yield f"{text}\t{seconds(START)}\t{seconds(expected)}\n"


def main():
    if len(sys.argv) == 1:
        sys.stdout.writelines(lines())
        return 0
    text = "".join(lines())
    if not re.search(r"\t", text):
        return 1
    return subprocess.run([sys.argv[1], "--oracle"], input=text, text=True, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
