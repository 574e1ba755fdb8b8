#!/usr/bin/python3
"""Promise 1: through every fault we can cause, the uplink shows the relay and nothing else.

    leak.py [--list] [--jobs N] [--keep FOLDER] [CASE...]      default: all cases; TAP on stdout

Each case is one fault, in network namespaces of its own (lab.py), with captures of its own, and
an app that never stops asking (app.py). A case checks what the app was told, what the stats say
and how soon all works again by itself; the captures go to the judge (judge.py) at its end.

Environment: CALLVEIL, the program (default: build/relay/callveil of this tree).
"""

import argparse
import base64
import concurrent.futures
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cases  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
CASE_TIMEOUT_S = 150


# ---- keys: made once, for all cases ----

def openssl(*argv, stdin=None):
    return subprocess.run(["openssl", *argv], check=True, capture_output=True, timeout=30,
                          input=stdin).stdout


def make_certificate(folder, name, host, signer=None):
    key, cert = f"{folder}/{name}-key.pem", f"{folder}/{name}.pem"
    more = ["-addext", f"subjectAltName=DNS:{host}"] if host else []
    if signer:
        more += ["-CA", f"{folder}/{signer}.pem", "-CAkey", f"{folder}/{signer}-key.pem",
                 "-addext", "basicConstraints=critical,CA:FALSE"]
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-days", "2", "-subj", f"/CN={host or 'a test authority'}", "-keyout", key, "-out",
            cert, *more)
    spki = openssl("pkey", "-pubin", "-outform", "der",
                   stdin=openssl("x509", "-in", cert, "-noout", "-pubkey"))
    with open(f"{folder}/{name}.pin", "w") as f:
        f.write("sha256/" + base64.b64encode(hashlib.sha256(spki).digest()).decode())


def make_keys(folder):
    os.makedirs(folder, exist_ok=True)
    make_certificate(folder, "ca", None)
    make_certificate(folder, "relay", "relay.example", signer="ca")
    make_certificate(folder, "other-name", "elsewhere.example", signer="ca")
    make_certificate(folder, "impostor", "relay.example")


# ---- cases, each in namespaces of its own ----

def spaces():
    """How this user makes namespaces, or None."""
    plain = ["unshare", "--net", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc"]
    for argv in (plain, plain + ["--user", "--map-root-user"]):
        if subprocess.run(argv + ["true"], capture_output=True, timeout=20).returncode == 0:
            return argv
    return None


def run_case(argv, name, folder, script):
    """Return: (ok, line) for each check, and comments."""
    shutil.rmtree(f"{folder}/{name}", ignore_errors=True)  # of an earlier run
    os.makedirs(f"{folder}/{name}")
    try:
        done = subprocess.run(
            argv + ["/usr/bin/python3", script, "--inside", name, "--keep", folder],
            capture_output=True, text=True, timeout=CASE_TIMEOUT_S, stdin=subprocess.DEVNULL)
        out, err, status = done.stdout, done.stderr, done.returncode
    except subprocess.TimeoutExpired as e:
        out, err, status = (e.stdout or b"").decode(), f"still running after {e.timeout} s", None
    lines = [line for line in out.splitlines() if re.match(r"(not )?ok - |#", line)]
    if status != 0 or "# end" not in lines:
        lines += [f"not ok - {name}: the case runs to its end"]
        lines += ["# " + line for line in f"status {status}\n{err}".splitlines()[-25:]]
    return [line for line in lines if line != "# end"]


class Report:
    def __init__(self):
        self.n = self.n_bad = 0

    def line(self, line):
        match = re.match(r"((?:not )?ok) - (.*)", line)
        if match:
            self.n += 1
            self.n_bad += match.group(1) != "ok"
            line = f"{match.group(1)} {self.n} - {match.group(2)}"
        print(line, flush=True)

    def end(self):
        print(f"1..{self.n}")
        return 1 if self.n_bad or not self.n else 0


def run_all(names, folder, jobs, script):
    report, argv = Report(), spaces()
    if argv is None:
        report.line("ok - the leak test # SKIP no namespaces here")
        return report.end()
    make_keys(f"{folder}/keys")
    names = sorted(names, key=lambda name: name not in cases.LONG)  # else the end waits for them
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for done in concurrent.futures.as_completed(
                [pool.submit(run_case, argv, name, folder, script) for name in names]):
            for line in done.result():
                report.line(line)
    return report.end()


def main(table, inside, script):
    """The command line of a suite: `table` has its cases, inside() runs one, within a lab's
    namespaces, as a process of `script` with --inside."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--list", action="store_true", help="the cases' names")
    parser.add_argument("--jobs", type=int, default=6, help="cases at a time")
    parser.add_argument("--keep", metavar="FOLDER", help="where captures and logs stay")
    parser.add_argument("--inside", metavar="CASE", help=argparse.SUPPRESS)
    parser.add_argument("case", nargs="*")
    options = parser.parse_args()
    if options.list:
        print("\n".join(table))
        return 0
    if options.inside:
        return inside(options.inside, options.keep)
    unknown = [name for name in options.case if name not in table]
    if unknown:
        parser.error(f"no case \"{unknown[0]}\"; see --list")
    names, script = options.case or list(table), os.path.abspath(script)
    if options.keep:
        return run_all(names, os.path.abspath(options.keep), options.jobs, script)
    with tempfile.TemporaryDirectory() as folder:
        return run_all(names, folder, options.jobs, script)


if __name__ == "__main__":
    sys.exit(main(cases.CASES, cases.run, __file__))
