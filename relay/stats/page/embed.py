#!/usr/bin/python3
"""Makes the C source that holds the stats page's files (relay/stats/page.h).

    embed.py OUTPUT FILE...
"""

import os
import sys

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Pages have a path without an extension; the rest is asked for by its own name.
PAGES = {"index.html": "/", "check.html": "/check"}


def c_bytes(data):
    rows = (data[i:i + 20] for i in range(0, len(data), 20))
    return ",\n    ".join(", ".join(str(byte) for byte in row) for row in rows)


def main():
    output, *files = sys.argv[1:]
    arrays, rows = [], []
    for i, path in enumerate(files):
        name = os.path.basename(path)
        with open(path, "rb") as f:
            data = f.read()
        arrays.append(f"static const uint8_t file_{i}[] = {{\n    {c_bytes(data)}}};\n")
        kind = TYPES[os.path.splitext(name)[1]]
        rows.append(f'    {{"{PAGES.get(name, "/" + name)}", "{kind}", file_{i}, {len(data)}}},\n')
    with open(output, "w") as out:
        out.write('#include "relay/stats/page.h"\n\n' + "\n".join(arrays))
        out.write(f"\nconst struct page_file page_files[] = {{\n{''.join(rows)}}};\n")
        out.write(f"const size_t n_page_files = {len(files)};\n")


main()
