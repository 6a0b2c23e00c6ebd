#!/usr/bin/env python3
"""What Python's zoneinfo says about every IANA zone, as lines "zone utc_seconds offset_seconds".

    zone_oracle.py PROGRAM      feed the lines to `PROGRAM --oracle`, and end as it ends
    zone_oracle.py              print them

Every change of 2016 to 2036 is found by bisection and given one second before, at, and one second
after it; besides, samples from 1890 to 2100. Both read the same database: Python's TZDIR is ours.
"""
import datetime
import os
import subprocess
import sys
import zoneinfo

UTC = datetime.timezone.utc
SAMPLES = [datetime.datetime(year, month, 1 + year % 28, year % 24, month, 7, tzinfo=UTC)
           for year in list(range(1890, 2016, 7)) + list(range(2037, 2101, 5))
           for month in (1, 4, 7, 10)]
FIRST = int(datetime.datetime(2016, 1, 1, tzinfo=UTC).timestamp())
LAST = int(datetime.datetime(2037, 1, 1, tzinfo=UTC).timestamp())
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=UTC)
# Between two changes that undo each other lie weeks, but for Morocco's and Gaza's Ramadan.
STRIDE = 5 * 86400


def offset_at(zone, seconds):
    moment = EPOCH + datetime.timedelta(seconds=seconds)
    return int(moment.astimezone(zone).utcoffset().total_seconds())


def changes(zone):
    low, offset = FIRST, offset_at(zone, FIRST)
    for high in range(FIRST + STRIDE, LAST, STRIDE):
        new = offset_at(zone, high)
        if new != offset:
            left, right = low, high
            while right - left > 1:
                middle = (left + right) // 2
                if offset_at(zone, middle) == offset:
                    left = middle
                else:
                    right = middle
            yield right
        low, offset = high, new


def lines():
    folder = os.environ.get("TZDIR", "/usr/share/zoneinfo")
    zoneinfo.reset_tzpath([folder])
    for name in sorted(zoneinfo.available_timezones()):
        if not os.path.exists(os.path.join(folder, name)):
            continue
        zone = zoneinfo.ZoneInfo(name)
        moments = [int(sample.timestamp()) for sample in SAMPLES]
        for change in changes(zone):
            moments += [change - 1, change, change + 1]
        for moment in moments:
            yield f"{name} {moment} {offset_at(zone, moment)}\n"


def main():
    if len(sys.argv) == 1:
        sys.stdout.writelines(lines())
        return 0
    text = "".join(lines())
    return subprocess.run([sys.argv[1], "--oracle"], input=text, text=True, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
