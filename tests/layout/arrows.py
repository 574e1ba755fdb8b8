#!/usr/bin/python3
"""Arrows between folders point one way: a row says what a place may include. TAP.

    arrows.py PATH/TO/TREE

Siblings (listen, front, exit, seal) never include each other; they meet at
relay/client.h, relay/exit.h and relay/keeper.h. A change that needs a new row needs a reason first.
"""

import os
import re
import sys

COMMON = ["common/base/", "common/net/", "common/wire/"]

# A place (the longest match counts) -> what its files may include, beside themselves.
MAY_INCLUDE = {
    "common/base/": [],
    "common/net/": ["common/base/"],
    "common/wire/": ["common/base/", "common/net/addr.h"],
    "conf/": ["common/base/", "common/net/addr.h"],
    "relay/client.h": ["common/net/addr.h"],
    "relay/exit.h": ["common/net/addr.h"],
    "relay/keeper.h": ["common/net/addr.h"],
    "relay/usage": ["common/base/log.h", "conf/suggest.h"],
    "relay/listeners": COMMON + ["conf/conf.h"],
    "relay/guard/": ["common/base/", "common/net/addr.h", "conf/conf.h"],
    "relay/stats/": ["common/base/", "common/net/addr.h", "common/net/tls.h"],
    "relay/turn/": COMMON + ["conf/", "relay/client.h", "relay/exit.h", "relay/guard/",
                             "relay/stats/counters", "relay/stats/flows", "relay/usage.h"],
    "relay/front/": COMMON + ["conf/conf.h", "conf/opaque.h", "relay/client.h", "relay/exit.h",
                              "relay/keeper.h", "relay/stats/counters", "relay/stats/flows"],
    "relay/exit/": COMMON + ["conf/conf.h", "relay/exit.h", "relay/guard/", "relay/stats/counters"],
    "relay/listen/": COMMON + ["conf/conf.h", "relay/client.h", "relay/settings.h",
                               "relay/stats/counters", "relay/turn/turn.h"],
    "relay/settings": COMMON + ["conf/conf.h", "relay/guard/", "relay/turn/auth.h"],
    "relay/mail": ["common/base/"],
    "relay/roam": ["common/base/", "relay/client.h", "relay/mail.h", "relay/stats/counters",
                   "relay/turn/turn.h"],
    "relay/worker": COMMON + ["relay/settings.h", "relay/mail.h", "relay/roam.h", "relay/guard/", "relay/stats/counters",
                              "relay/stats/flows", "relay/exit/", "relay/listen/listen.h", "relay/turn/turn.h"],
    "relay/invite/": COMMON + ["conf/", "relay/check/check.h", "relay/guard/special.h",
                               "relay/settings.h", "relay/usage.h"],
    "relay/check/": COMMON + ["conf/", "relay/exit.h", "relay/exit/upstream/upstream.h",
                              "relay/usage.h"],
    "relay/top/": COMMON + ["conf/", "relay/usage.h"],
    "relay/demo/": COMMON + ["conf/", "relay/local.h", "relay/relay.h", "relay/secret.h",
                    "relay/usage.h"],
    "relay/rendezvous": [],
    "relay/secret": [],
    "relay/seal/": COMMON + ["conf/", "relay/keeper.h", "relay/local.h", "relay/rendezvous.h",
                             "relay/usage.h"],
    "relay/": ["common/", "conf/", "relay/"],
}


def rule_for(path):
    return max((place for place in MAY_INCLUDE if path.startswith(place)), key=len, default=None)


def wrong_arrows(tree):
    n_files, wrong = 0, []
    for top in ("common", "conf", "relay"):
        for folder, _, names in os.walk(os.path.join(tree, top)):
            for name in names:
                if not name.endswith((".c", ".h", ".def")):
                    continue
                path = os.path.relpath(os.path.join(folder, name), tree)
                place = rule_for(path)
                n_files += 1
                with open(os.path.join(tree, path)) as f:
                    included = re.findall(r'^#include "([^"]+)"', f.read(), re.M)
                for target in included:
                    allowed = [place] + MAY_INCLUDE[place]
                    if not any(target.startswith(a) for a in allowed):
                        wrong.append(f"{path} includes {target}, which {place} may not")
    return n_files, wrong


def main():
    n_files, wrong = wrong_arrows(sys.argv[1])
    for line in wrong:
        print("# " + line)
    print(f"{'not ok' if wrong else 'ok'} 1 - no file includes against the arrows")
    print(f"{'ok' if n_files > 50 else 'not ok'} 2 - the tree was found ({n_files} files)")
    print("1..2")
    return 1 if wrong or n_files <= 50 else 0


if __name__ == "__main__":
    sys.exit(main())
