#!/usr/bin/python3
"""The tests that tests/README.md names for its security cases exist. TAP.

    cases.py PATH/TO/TREE

Every case S1..S46 has one row, and a row names a test or says which later work brings one.
A C test must be both defined and added to its suite.
"""

import os
import re
import sys

N_CASES = 46

# Where secrets meet what the network sent: nothing but CRYPTO_memcmp() may compare there. A test
# that measured time would fail on a busy machine, and pass on a quick one.
SECRET_FILES = {
    "common/wire/stun_mac.c": None,
    "relay/turn/auth.c": "auth_nonce_ok",
    "relay/stats/http_answer.c": "http_has_token",
    "relay/front/socks5_login.c": None,
}


def read(tree, path):
    try:
        with open(os.path.join(tree, path), encoding="utf-8") as f:
            return f.read()
    except OSError:
        return ""


def secrets_are_compared_in_constant_time(tree):
    wrong = []
    for path, function in SECRET_FILES.items():
        text = read(tree, path)
        if function:
            text = text[text.find(f" {function}("):].split("\n}\n")[0]
        if "CRYPTO_memcmp(" not in text:
            wrong.append(f"{path}: no CRYPTO_memcmp()")
        if re.search(r"(?<!CRYPTO_)\b(mem|str|strn)cmp\(", text):
            wrong.append(f"{path}: compares by another function")
    return wrong


def rows(tree):
    found = {}
    for line in read(tree, "tests/README.md").splitlines():
        match = re.match(r"\| (S\d+) \|[^|]*\|([^|]*)\|$", line)
        if match:
            found.setdefault(match.group(1), []).append(match.group(2))
    return found


def every_case_has_a_row(tree):
    found = rows(tree)
    wrong = [f"S{i} has {len(found.get(f'S{i}', []))} rows" for i in range(1, N_CASES + 1)
             if len(found.get(f"S{i}", [])) != 1]
    wrong += [f"{case} names no test and no reason" for case, cells in found.items()
              if not re.search(r"`\S+:\S+`|later: \w+", cells[0])]
    return wrong


def every_named_test_exists(tree):
    wrong = []
    for case, cells in rows(tree).items():
        for path, name in re.findall(r"`([^`:]+):([^`]+)`", cells[0]):
            text = read(tree, "tests/" + path)
            if path.endswith(".c"):
                exists = (f"START_TEST({name})" in text
                          and re.search(rf"tcase_add\w*test\(\w+, {name}\b", text))
            else:
                exists = re.search(rf"\b{name}\b", text)
            if not exists:
                wrong.append(f"{case}: tests/{path} has no test {name}")
    return wrong


def main():
    failed = False
    checks = [every_case_has_a_row, every_named_test_exists, secrets_are_compared_in_constant_time]
    for i, check in enumerate(checks, 1):
        wrong = check(sys.argv[1])
        for line in wrong:
            print("# " + line)
        print(f"{'not ok' if wrong else 'ok'} {i} - {check.__name__}")
        failed = failed or bool(wrong)
    print(f"1..{len(checks)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
