"""Ray, and nothing else knows of it: actors, and the driver that gives them work."""

import os

# Before ray is imported: no telemetry, and no advice about other people's settings on a user's
# terminal.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
