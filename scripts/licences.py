#!/usr/bin/env python3
"""Checks the licences of all dependencies: `cargo metadata --format-version 1 | licences.py`."""
import json
import re
import sys

ALLOWED = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-1-Clause", "BSD-2-Clause",
    "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC", "MIT", "MIT-0", "MPL-2.0", "NCSA", "OFL-1.1",
    "Ubuntu-font-1.0", "Unicode-3.0", "Unlicense", "Zlib", "bzip2-1.0.6", "CDLA-Permissive-2.0",
}


def allowed(expression):
    """Whether every AND-part of an SPDX expression has an allowed OR-alternative."""
    parts = re.split(r"\s+AND\s+", expression.replace("/", " OR ").replace("(", "").replace(")", ""))
    return all(any(term.strip() in ALLOWED for term in re.split(r"\s+OR\s+", part)) for part in parts)


packages = json.load(sys.stdin)["packages"]
bad = [p for p in packages if p["source"] and not (p["license_file"] or allowed(p["license"] or "none"))]
for package in bad:
    print(f"error: {package['name']} {package['version']} is under '{package['license']}'", file=sys.stderr)
print(f"licences: {len(packages) - len(bad)} of {len(packages)} packages are under allowed licences")
sys.exit(bool(bad))
