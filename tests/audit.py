"""Asks pip-audit's database about all that is installed here; says so where it cannot be reached (`make audit`)."""

from __future__ import annotations

import json
import re
import subprocess
import sys


def main() -> int:
    asked = [sys.executable, "-m", "pip_audit", "--format", "json", "--skip-editable", "--progress-spinner", "off"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1][:300]
        if not re.search("connect|resolve|timed? ?out|unreachable|ServiceError", last, re.IGNORECASE):
            print(f"pip-audit failed: {last}")
            return 2
        print(f"NOT AUDITED: the database of known holes cannot be reached from here ({last}).")
        return 0
    holes = [(one, hole) for one in found for hole in one.get("vulns", [])]
    for one, hole in holes:
        print(
            f"{one['name']} {one['version']}: {hole['id']}, mended in {', '.join(hole['fix_versions']) or 'no version'}"
        )
    skipped = [one["name"] for one in found if "skip_reason" in one]
    if len(skipped) == len(found):
        print("NOT AUDITED: the index that is reached from here has no database of known holes.")
    else:
        print(
            f"{len(found) - len(skipped)} packages, {len(holes)} known holes; not asked: {', '.join(skipped) or 'none'}"
        )
    return 1 if holes else 0


if __name__ == "__main__":
    sys.exit(main())
