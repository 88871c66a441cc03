"""Our report of one window: profile.json window.parquet; prints CPU seconds, megabytes and alarms."""

import json
import re
import sys
import time
from pathlib import Path

import msgspec
import pyarrow.parquet

from mlauto.monitoring.drift.files import count_file
from mlauto.monitoring.drift.profile import Profile
from mlauto.monitoring.drift.report import budget_of, drift_report

HOURLY = 8766.0

assert pyarrow.parquet  # imported before the clock starts, as the peers' libraries are
began = time.process_time()
profile = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Profile)
report = drift_report(profile, count_file(profile, Path(sys.argv[2])), budget_of(profile, HOURLY))
seconds = time.process_time() - began
# the peak of this program: what getrusage says begins with that of the process that started it
peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
assert peak is not None
megabytes = int(peak[1]) / 1024
alarms = [f"{found.subject} {found.test}" for found in report.alarmed] if report else ["no report"]
print(json.dumps({"seconds": seconds, "megabytes": megabytes, "alarms": alarms}))
