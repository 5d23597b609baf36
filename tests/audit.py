"""Asks pip-audit's database about all that is installed here; says so where it cannot be reached (`make audit`)."""

from __future__ import annotations

import subprocess
import sys

#: What pip-audit says where nothing answers it.
UNREACHED = (
    "ConnectionError",
    "Connection",
    "Max retries",
    "timed out",
    "Temporary failure",
    "ServiceError",
    "HTTPError",
)


def main() -> int:
    asked = [sys.executable, "-m", "pip_audit", "--skip-editable", "--progress-spinner", "off"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode and not done.stdout.strip() and any(word in done.stderr for word in UNREACHED):
        print("NOT AUDITED: the database of known holes cannot be reached from here.")
        print((done.stderr.strip().splitlines() or [""])[-1][:300])
        return 0
    print(done.stdout.strip() or done.stderr.strip())
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
