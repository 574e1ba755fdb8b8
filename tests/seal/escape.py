#!/usr/bin/python3
"""Promise 1 for `callveil run`: a sealed program gets no packet out but through the relay.

    escape.py [--list] [--jobs N] [--keep FOLDER] [CASE...]      default: all cases; TAP on stdout

The leak test's lab and judge (tests/leak), with programs in seals that try to get out
(attempts.py) while the uplink is captured; and what must work from inside (sealcases.py).

Environment: CALLVEIL, the program (default: build/relay/callveil of this tree).
"""

import argparse
import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "leak")]
import leak  # noqa: E402
import sealcases  # noqa: E402


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--list", action="store_true", help="the cases' names")
    parser.add_argument("--jobs", type=int, default=4, help="cases at a time")
    parser.add_argument("--keep", metavar="FOLDER", help="where captures and logs stay")
    parser.add_argument("--inside", metavar="CASE", help=argparse.SUPPRESS)
    parser.add_argument("case", nargs="*")
    options = parser.parse_args()
    if options.list:
        print("\n".join(sealcases.CASES))
        return 0
    if options.inside:
        return sealcases.run(options.inside, options.keep)
    unknown = [name for name in options.case if name not in sealcases.CASES]
    if unknown:
        parser.error(f"no case \"{unknown[0]}\"; see --list")
    names = options.case or list(sealcases.CASES)
    script = os.path.abspath(__file__)
    if options.keep:
        return leak.run_all(names, os.path.abspath(options.keep), options.jobs, script)
    with tempfile.TemporaryDirectory() as folder:
        return leak.run_all(names, folder, options.jobs, script)


if __name__ == "__main__":
    sys.exit(main())
