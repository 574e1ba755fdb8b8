#!/usr/bin/python3
"""Promise 1 for `callveil run`: a sealed program gets no packet out but through the relay.

    escape.py [--list] [--jobs N] [--keep FOLDER] [CASE...]      default: all cases; TAP on stdout

The leak test's lab and judge (tests/leak), with programs in seals that try to get out
(attempts.py) while the uplink is captured; and what must work from inside (sealcases.py).

Environment: CALLVEIL, the program (default: build/relay/callveil of this tree).
"""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "leak")]
import leak  # noqa: E402
import sealcases  # noqa: E402

if __name__ == "__main__":
    sys.exit(leak.main(sealcases.CASES, sealcases.run, __file__))
