"""A case's world (leak/world.py) with `callveil run` in it: programs in seals, and what they say.

The app's host has an ordinary user, who runs `local` and the sealed programs.
"""

import os
import shutil
import socket
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "leak"))
import far  # noqa: E402
import lab as place  # noqa: E402
import world  # noqa: E402
from lab import until  # noqa: E402

USER_ID = 1000
PYTHON = "/usr/bin/python3"
ATTEMPTS = f"{HERE}/attempts.py"


def is_root():
    """Root of the machine's, rather than of a user namespace with one user."""
    with open("/proc/self/uid_map") as f:
        return int(f.read().split()[2]) > USER_ID


def as_user(folder):
    """argv that makes the rest an ordinary user's program."""
    environment = ["env", f"HOME={folder}/home", f"XDG_RUNTIME_DIR={folder}/runtime",
                   # LSan needs ptrace, which our processes forbid.
                   "ASAN_OPTIONS=detect_leaks=0:exitcode=99"]
    if is_root():
        return ["setpriv", "--reuid", str(USER_ID), "--regid", str(USER_ID), "--clear-groups",
                *environment]
    return ["unshare", "--user", f"--map-user={USER_ID}", f"--map-group={USER_ID}", *environment]


class SealedWorld(world.World):
    def __init__(self, name, folder):
        super().__init__(name, folder)
        self.n_started = 0
        self.is_root = is_root()
        self.callveil = f"{self.folder}/callveil"
        # Where the user may read, whoever's the tree is.
        shutil.copy(world.CALLVEIL, self.callveil)
        self.attempts = shutil.copy(ATTEMPTS, self.folder)
        for path, mode in ((folder, 0o711), (self.folder, 0o755)):
            os.chmod(path, mode)
        for name, mode in (("home", 0o700), ("runtime", 0o700), ("work", 0o700)):
            os.mkdir(f"{self.folder}/{name}", mode)
            self.own(f"{self.folder}/{name}")
        self.user = as_user(self.folder)
        self.page = far.Echo(self.lab, "app", ["127.0.0.1", "::1", place.APP], 8099)
        self.forbidden.append(self.page)
        with self.lab.at("app"):
            self.abstract = socket.socket(socket.AF_UNIX)
            self.abstract.bind("\0zkqabstract")
            self.abstract.listen(8)

    @staticmethod
    def own(path):
        if is_root():
            os.chown(path, USER_ID, USER_ID)

    def local_argv(self):
        self.own(f"{self.folder}/local.conf")
        return [*self.user, self.callveil, "local", "-c", f"{self.folder}/local.conf"]

    # ---- sealed programs ----

    def sealed(self, *argv, options=(), **more):
        """The argv of a sealed program, as the lab runs it."""
        return [*self.lab.enter("app"), *self.user, self.callveil, "run", *options, "--", *argv]

    def run(self, *argv, options=(), seconds=60, text=True, **more):
        """To its end. Return: subprocess's result, status None when it did not end in time."""
        more.setdefault("stdin", subprocess.DEVNULL)
        try:
            return subprocess.run(self.sealed(*argv, options=options), capture_output=True,
                                  text=text, timeout=seconds, cwd=self.folder, **more)
        except subprocess.TimeoutExpired as e:
            return subprocess.CompletedProcess(argv, None, (e.stdout or b"").decode(), "timeout")

    def start(self, *argv, options=()):
        """In the background, its output in a log of its own."""
        self.n_started += 1
        return self.lab.run("app", [*self.user, self.callveil, "run", *options, "--", *argv],
                            f"sealed-{self.n_started}")

    def tries(self, *names, seconds=90):
        """Return: {name: what the attempt says} and the raw output."""
        done = self.run(PYTHON, self.attempts, *names, seconds=seconds)
        lines = [line.split("\t", 1) for line in done.stdout.splitlines() if "\t" in line]
        return dict(lines), done

    def begin(self, **local):
        self.start_relay()
        self.start_local(**local)
        if until(lambda: self.state()[0] == "ready", 20) is None:
            raise place.LabError(f"local is not ready: {self.local.text()}")

    def talks(self, what):
        """All ways that should work do. Return: when."""
        said, done = self.tries("talk")
        self.check(what, said.get("talk") == " ".join(["answered"] * 4),
                   f"{done.stdout}\n{done.stderr}\n{self.local.text()[-1000:] if self.local else ''}")

    # ---- the end ----

    def finish_sealed(self, least=10, least_peers=4, encrypted=True, ends=True):
        if ends and self.local and self.local.runs():
            self.end_local()
        self.judge_all(least, least_peers, encrypted)


def run(name, folder, case, kind=SealedWorld):
    """As world.run(), with this kind of world."""
    world.World, before = kind, world.World
    try:
        return world.run(name, folder, case)
    finally:
        world.World = before
