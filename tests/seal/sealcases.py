"""What a sealed program cannot do, and what it can; sealed.py has the words they are written in."""

import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error

import sealed
from sealed import PYTHON, far, place, until, world

CASES = {}

# How an attempt may end, for each one of its tries.
REFUSED = {"EPERM", "EACCES", "EAFNOSUPPORT", "EPROTONOSUPPORT", "ESOCKTNOSUPPORT", "ENETUNREACH",
           "EHOSTUNREACH", "ECONNREFUSED", "EADDRNOTAVAIL", "ENODEV", "ENOSYS", "EINVAL",
           "ENOPROTOOPT"}
# By a connection that the gate took: reset, once the relay has said no.
RESET = REFUSED | {"ECONNRESET", "closed"}


def case(run):
    CASES[run.__name__.replace("_", "-")] = run
    return run


def run(name, folder):
    return sealed.run(name, folder, CASES[name])


def judge_words(w, said, allowed, done):
    for name, words in allowed.items():
        what = said.get(name, "")
        bad = [word for word in what.split() if word not in words]
        w.check(f"{name.replace('-', ' ')}: no way out", what and not bad,
                f"{what}\n{done.stdout[-500:]}{done.stderr[-500:]}")


def attempts(w, allowed, seconds=100):
    said, done = w.tries(*allowed, seconds=seconds)
    judge_words(w, said, allowed, done)
    return said


# ---- ways out ----

@case
def packets(w):
    w.begin()
    w.talks("the seal works")
    attempts(w, {
        "raw-icmp": {"EPERM"}, "raw-ip": {"EPERM"}, "raw-ipv6": {"EPERM"},
        "packet-socket": {"EPERM", "EAFNOSUPPORT"}, "ping": {"failed"},
        "other-protocols": REFUSED, "other-families": {"EAFNOSUPPORT"}, "io-uring": {"ENOSYS"},
        "multicast": REFUSED, "multicast-ipv6": REFUSED, "broadcast": REFUSED,
        "link-local": RESET,
    })
    w.finish_sealed()


@case
def addresses(w):
    w.begin()
    w.talks("the seal works")
    attempts(w, {
        "this-network": RESET, "metadata": RESET, "loopback-services": {"ECONNREFUSED"},
        "door-of-the-gate": REFUSED, "foreign-sources": REFUSED,
        "devices-and-marks": REFUSED | {"sent"}, "loose-source-route": REFUSED | {"answered"},
        "resolvers-of-the-machine": RESET | {"answered", "sent"},
    })
    w.finish_sealed()


@case
def namespaces(w):
    w.begin()
    w.talks("the seal works")
    failed = {"failed"}
    attempts(w, {
        "setns": {"nowhere"}, "root-of-others": {"nothing"}, "ptrace": {"nothing"},
        "change-the-network": failed, "change-it-from-a-namespace-of-ones-own": failed,
        "uncover-the-files": failed, "all-again-in-a-network-of-ones-own": {"alone"},
        "hand-an-interface-over": failed, "abstract-sockets": {"ECONNREFUSED"},
        "type-into-the-terminal": {"EPERM", "EIO"},
        "sudo-and-other-ways-up": {"caps", "none", "no-new-privs", "1"},
    })
    w.talks("and works afterwards")
    w.finish_sealed()


@case
def lies_to_the_local_proxy(w):
    w.begin()
    attempts(w, {"hostile-attach": {"EINVAL", "EBADMSG", "EPROTONOSUPPORT", "none"}})
    w.talks("the proxy serves on")
    w.finish_sealed()


@case
def inherited_descriptors(w):
    w.begin()
    with w.lab.at("app"):
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        tcp = socket.create_connection((place.APP, 8099))
    until(lambda: w.page.n_connections == 1, 5)
    w.page.n_connections = 0
    listing = w.run("ls", "/proc/self/fd", pass_fds=[udp.fileno(), tcp.fileno()])
    w.check("a program gets 0, 1 and 2 and nothing else",
            listing.stdout.split() == ["0", "1", "2", "3"], listing)
    for fd in ("stdin", "udp"):
        done = w.run("true", stdin=tcp if fd == "stdin" else udp)
        w.check(f"a socket of the network outside as standard input is refused ({fd})",
                done.returncode == 2 and "way out" in done.stderr, done)
    w.finish_sealed(least=4, least_peers=0)


@case
def exhausted(w):
    w.begin()
    said, _ = w.tries("exhaust")
    w.check("a program takes all it can get", re.match(r"\d+ ports", said.get("exhaust", "")), said)
    w.note(f"exhaust: {said}")
    w.check("the proxy has survived", w.local.runs() and w.state()[0] == "ready", w.state())
    until(lambda: w.tries("talk")[0].get("talk") == "answered answered answered answered", 40, 1)
    w.talks("another seal works, once the relay has taken its ports back")
    w.finish_sealed()


def mid_flow(w, kill, dark=True):
    """A program talks, something of ours is killed, and nothing of it is seen any more."""
    w.begin()
    app = w.start(PYTHON, w.attempts, "keep-talking")
    talking = app.says(r"so far\t[1-9]", 20)
    w.check("the program talks", talking, app.text())
    kill(app)
    time.sleep(0.5)
    n_peers = (w.peer.n_datagrams, w.peer.n_bytes)
    before = app.text().count("so far")
    until(lambda: app.text().count("so far") >= before + 2, 20)
    tail = re.findall(r"so far\t(\d+) ", app.text())[-2:]
    if dark:
        w.check("it goes dark: nobody hears it and nobody answers",
                len(set(tail)) == 1 and (w.peer.n_datagrams, w.peer.n_bytes) == n_peers,
                app.text()[-800:])
    return app


def sealed_pids(w, comm):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as f:
                line = f.read()
            if f"({comm})" in line and ") Z " not in line:
                found.append(int(pid))
        except OSError:
            continue
    return found


@case
def keeper_killed(w):
    def kill(app):
        keepers = sealed_pids(w, "callveil-keeper")
        w.check("there is one keeper", len(keepers) == 1, keepers)
        os.kill(keepers[0], signal.SIGKILL)
    app = mid_flow(w, kill)
    w.check("the program is told where its network went", "no network any more" in app.text(),
            app.text()[-300:])
    w.check("run ends with the program", app.end(signal.SIGTERM) == 0, app.text()[-500:])
    w.talks("another seal works")
    w.finish_sealed()


@case
def local_killed(w):
    app = mid_flow(w, lambda app: w.local.end(signal.SIGKILL))
    w.check("the program is told where its network went",
            "until there is one again, the app has no network" in app.text(), app.text()[-300:])
    for n in (1, 2):
        heard = int(re.findall(r"so far\t(\d+) ", app.text())[-1])
        w.restart_local()
        w.check(f"it is heard again by a new start of the proxy ({n})", until(
            lambda: int(re.findall(r"so far\t(\d+) ", app.text())[-1]) > heard + 5, 30) is not None,
            app.text()[-500:])
        w.check("and told so", app.text().count("there is a local proxy again") == n,
                app.text()[-500:])
        w.talks(f"which serves new seals, too ({n})")
        if n == 1:
            w.local.end(signal.SIGTERM)
            time.sleep(1)
    w.check("all that while by one keeper", len(sealed_pids(w, "callveil-keeper")) == 1)
    w.check("run ends with the program", app.end(signal.SIGTERM) == 0, app.text()[-500:])
    w.check("the keeper is gone", not sealed_pids(w, "callveil-keeper"))
    w.finish_sealed()


@case
def own_proxy_killed(w):
    """Nobody starts it again."""
    w.begin()
    w.end_local()
    app = w.start(PYTHON, w.attempts, "keep-talking", options=("-c", f"{w.folder}/local.conf"))
    w.check("the program talks", app.says(r"so far\t[1-9]", 30), app.text())
    for pid in sealed_pids(w, "callveil-local"):
        os.kill(pid, signal.SIGKILL)
    w.check("the program is told that it has no network any more",
            app.says("its local proxy has ended: the app has no network any more", 10),
            app.text()[-300:])
    w.check("run ends with the program", app.end(signal.SIGTERM) == 0, app.text()[-500:])
    w.check("the keeper is gone", not sealed_pids(w, "callveil-keeper"))
    w.finish_sealed(ends=False)


@case
def run_killed(w):
    """Its end is the app's: SIGTERM."""
    app = mid_flow(w, lambda app: None, dark=False)
    app.popen.kill()
    app.popen.wait()
    w.check("the program is asked to end", until(
        lambda: app.text().rstrip().endswith("ended"), 10) is not None,
        app.text()[-300:])
    w.check("the keeper is gone", until(
        lambda: not sealed_pids(w, "callveil-keeper"), 5) is not None)
    w.finish_sealed()


@case
def relay_gone(w):
    app = mid_flow(w, lambda app: w.relay.end(signal.SIGKILL))
    w.start_relay()
    before = app.text().count("so far")
    n = until(lambda: len(set(re.findall(r"so far\t(\d+) ", app.text()[-200:]))) > 1, 40)
    w.check("it is heard again once the relay is back", n is not None,
            f"{before} {app.text()[-500:]}")
    w.check("run ends with the program", app.end(signal.SIGTERM) == 0, app.text()[-500:])
    w.finish_sealed()


@case
def run_inside_run(w):
    w.begin()
    inner = [w.callveil, "run", "--"]
    done = w.run(*inner, PYTHON, w.attempts, "talk", "raw-icmp", "multicast", "this-network",
                 "loopback-services")
    said = dict(line.split("\t", 1) for line in done.stdout.splitlines() if "\t" in line)
    w.check("a seal in a seal works", said.get("talk") == "answered answered answered answered",
            f"{done.stdout}{done.stderr}")
    judge_words(w, said, {"raw-icmp": {"EPERM"}, "multicast": REFUSED, "this-network": RESET,
                          "loopback-services": {"ECONNREFUSED"}}, done)
    done = w.run(w.callveil, "run", "-c", f"{w.folder}/local.conf", "--", PYTHON, w.attempts,
                 "talk", "this-network")
    said = dict(line.split("\t", 1) for line in done.stdout.splitlines() if "\t" in line)
    w.note(f"with a proxy inside: {said} {done.stderr}")
    w.check("and one with a proxy of its own inside leaks nothing",
            "answered" not in said.get("this-network", "none"), f"{done.stdout}{done.stderr}")
    w.finish_sealed()


@case
def without_a_seal_they_get_out(w):
    """The attempts themselves, by root and without a seal: each of these is seen."""
    w.start_relay()
    w.captures = w.lab.watch(w.name)
    names = ["raw-icmp", "raw-ip", "raw-ipv6", "packet-socket", "ping", "multicast",
             "multicast-ipv6", "broadcast", "this-network", "foreign-sources",
             "resolvers-of-the-machine", "abstract-sockets", "loopback-services"]
    done = subprocess.run([*w.lab.enter("app"), "env", "ATTEMPTS_OUTSIDE=1", PYTHON, w.attempts,
                           *names], capture_output=True, text=True, timeout=100)
    said = dict(line.split("\t", 1) for line in done.stdout.splitlines() if "\t" in line)
    for name in names:
        w.check(f"{name.replace('-', ' ')} gets out", re.search(
            "sent|answered|connected|done", said.get(name, "")), said.get(name))
    uplink, _ = w.verdict(1, 0, True)
    for what, sign in (("ICMP", r"icmp|proto 1\b"), ("multicast", r"224\.0\.0\.251"),
                       ("IPv6 multicast", r"ff02::fb"), ("broadcast", r"255\.255\.255\.255"),
                       ("a peer", place.PEER), ("the payload", "zkqpayload")):
        w.check(f"the judge sees {what}", any(re.search(sign, f, re.I) for f in uplink.findings),
                "\n".join(uplink.findings))
    w.relay.end(15)


# ---- what works ----

@case
def programs(w):
    w.begin()
    w.talks("UDP and TCP, IPv4 and IPv6, are answered")
    name = f"{place.NAME_MARK.decode()}1.{place.FAR_DOMAIN}"
    page = (f"import socket,sys; s=socket.create_connection(('{name}', {far.ECHO_PORT}), 10); "
            "s.sendall(b'zkqpayload'); print(s.recv(20), s.getsockname()[0])")
    done = w.run(PYTHON, "-c", page)
    w.check("a name is resolved at the far side", "zkqpayload" in done.stdout, done)
    w.check("and the program's own address is everybody's",
            re.search(r"192\.0\.2\.2|fd63:616c:6c76::2", done.stdout), done)
    w.check("the name was asked for there", any(
        n.startswith(place.NAME_MARK.decode()) for n in w.far_dns.asked), w.far_dns.asked)
    done = w.run("curl", "-sS", "--max-time", "10", f"http://{place.RELAY}:1/")
    w.check("curl is told at once of a peer that refuses", done.returncode in (7, 52, 56), done)
    start = time.monotonic()
    done = w.run("ping", "-c", "1", place.PEER)
    w.check("ping is refused at once", done.returncode not in (0, None)
            and time.monotonic() - start < 3, done)
    w.finish_sealed()


@case
def page_inside(w):
    """The router of a seal: a page with a token of its own, STUN, TURN; and nothing of outside."""
    w.begin()
    with open(f"{w.folder}/chromium-look", "w") as f:
        f.write("#!/bin/sh\n")
    os.chmod(f"{w.folder}/chromium-look", 0o755)
    done = w.run(f"{w.folder}/chromium-look")
    found = re.search(r"http://192\.0\.2\.1:9642/check#([0-9a-f]{32})\n", done.stderr)
    w.check("a browser's run tells where the page is", found, done)
    w.check("another program's does not", w.run("true").stderr == "")
    token = found[1] if found else ""
    outside = re.search(r"http://127\.0\.0\.1:\d+/#([0-9a-f]{32})", w.local.text())[1]

    def get(path, *options, token="", host="192.0.2.1:9642", run=w.run):
        done = run("curl", "-sS", "--max-time", "5", "-w", "\n%{http_code}", *options, "-H",
                   f"Authorization: Bearer {token}", f"http://{host}{path}")
        body, _, status = done.stdout.rpartition("\n")
        return status, body

    w.check("the page itself is open", get("/check")[0] == "200")
    for name, wrong in (("none", ""), ("a wrong one", token[::-1]), ("the page's outside", outside),
                        ("the configured one", world.TOKEN)):
        w.check(f"its numbers are not, with this token: {name}",
                get("/stats.json", token=wrong)[0] == "401", wrong)
    w.check("nor are the metrics", get("/metrics")[0] == "401")
    status, body = get("/stats.json", token=token)
    stats = json.loads(body) if status == "200" else {}
    w.check("with its own they are", stats.get("sealed") is True
            and stats.get("peers_see") == [place.RELAY, place.RELAY6], body)
    w.check("and nothing of the machine outside is there", status == "200" and not any(
        a in body for a in (place.APP, place.APP6, "127.0.0.1", "own_addresses", "mirror")), body)
    w.check("by IPv6, too", get("/healthz", host="[fd63:616c:6c76::1]:9642")[0] == "200")
    w.check("another Host is refused", get("/check", "-H", "Host: evil.example")[0] == "421")
    w.check("and other ports of the router", w.run(
        "curl", "-sS", "--max-time", "5", "http://192.0.2.1:9641/").returncode in (7, 52, 56))
    turn = stats.get("turn", {})
    try:
        opened = w.get("app", 9642, token)
    except urllib.error.HTTPError as e:
        opened = None if e.code == 401 else e
    w.check("outside, the token of the inside opens nothing", opened is None, opened)
    said, done = w.tries("mapped")
    w.check("the router's STUN shows what a peer sees of that very socket",
            said.get("mapped") == "%s %d answered" % w.peer.last_source, f"{done} {w.peer.last_source}")
    done = w.run("turnutils_uclient", "-t", "-s", "-c", "-n", "20", "-m", "1", "-l", "100", "-e", place.PEER, "-r",
                 str(far.ECHO_PORT), "-u", turn.get("username", ""), "-w", turn.get("credential", ""),
                 "192.0.2.1")
    w.check("its TURN server, by TCP, relays", "Total lost packets 0 (0" in done.stdout, done)
    w.finish_sealed()


def serve_ssh(w):
    """sshd with the peers, for a key of the user's. Return: ssh's command line."""
    folder = f"{w.folder}/work"
    w.lab.sh("peer", "mount -t tmpfs none /run && mkdir /run/sshd")
    for name in ("host", "id"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{folder}/{name}"],
                       check=True, timeout=20)
    w.own(f"{folder}/id")
    with open(f"{folder}/sshd", "w") as f:
        f.write(f"ListenAddress {place.PEER}:2222\nHostKey {folder}/host\n"
                f"AuthorizedKeysFile {folder}/id.pub\nStrictModes no\nPidFile none\nUsePAM no\n"
                "PermitRootLogin prohibit-password\nPasswordAuthentication no\n")
    with open(f"{folder}/host.pub") as key, open(f"{folder}/known", "w") as f:
        f.write(f"[{place.PEER}]:2222 {key.read()}")
    # ssh(1) will not run for a user without a name.
    with open("/etc/passwd") as old, open(f"{w.folder}/passwd", "w") as f:
        f.write(f"zkquser:x:{sealed.USER_ID}:{sealed.USER_ID}::{w.folder}/home:/bin/sh\n"
                + old.read())
    w.lab.sh("app", f"mount --bind {w.folder}/passwd /etc/passwd")
    sshd = w.lab.run("peer", ["/usr/sbin/sshd", "-D", "-e", "-f", f"{folder}/sshd"], "sshd")
    w.check("sshd listens at the peer", sshd.says("Server listening"), sshd.text())
    return ["ssh", "-F", "none", "-i", f"{folder}/id", "-o", "BatchMode=yes", "-o",
            f"UserKnownHostsFile={folder}/known", "-p", "2222", f"root@{place.PEER}"]


@case
def dig_curl_and_ssh(w):
    """Programs that people know, with servers that they know."""
    w.begin()
    name = f"{place.NAME_MARK.decode()}1.{place.FAR_DOMAIN}"
    for option in ("+notcp", "+tcp"):
        done = w.run("dig", "+short", "+time=5", "+tries=1", option, name, "A", name, "AAAA")
        w.check(f"dig {option} has both addresses of a name",
                done.stdout.split() == [place.PEER, place.PEER6], done)
    done = w.run("dig", "+time=5", "+tries=1", f"none.{name}x", "A")
    w.check("and none of a name that does not exist", "NXDOMAIN" in done.stdout, done)
    os.mkdir(f"{w.folder}/www")
    body = os.urandom(5 << 20)
    with open(f"{w.folder}/www/body", "wb") as f:
        f.write(body)
    web = w.lab.run("peer", [PYTHON, "-u", "-m", "http.server", "-d", f"{w.folder}/www", "8080"],
                    "web")
    web.says("Serving")
    done = w.run("curl", "-sS", "--max-time", "30", f"http://{name}:8080/body", text=False)
    w.check("curl gets a page of 5 MiB, whole", done.stdout == body, done.stderr)
    w.check("from the relay, as the server saw it", web.text().count(place.RELAY) == 1,
            web.text())
    if w.is_root:
        done = w.run(*serve_ssh(w), "echo ${SSH_CONNECTION%% *}; cat >/dev/null; exit 7",
                     input="x" * 3000000, stdin=None)
        w.check("ssh runs a command there, from the relay",
                (done.stdout, done.returncode) == (place.RELAY + "\n", 7), done)
    w.finish_sealed()


@case
def statuses_and_streams(w):
    w.begin()
    for argv, status in ((["true"], 0), (["false"], 1), (["sh", "-c", "exit 37"], 37),
                         (["sh", "-c", "kill -9 $$"], 137), (["sh", "-c", "kill -TERM $$"], 143),
                         (["/no/such/program"], 127), (["/etc/passwd"], 126)):
        done = w.run(*argv)
        w.check(f"{' '.join(argv)}: {status}", done.returncode == status, done)
    done = w.run("sh", "-c", "cat; echo err >&2", stdin=None, input="in\n")
    w.check("standard input, output and error are its own",
            (done.stdout, done.stderr) == ("in\n", "err\n"), done)
    done = w.run("env", env={**os.environ, "http_proxy": "http://127.0.0.1:9", "ALL_PROXY": "x",
                             "KEPT": "as it was"})
    w.check("the environment is passed on, without proxies",
            "KEPT=as it was" in done.stdout and "proxy" not in done.stdout.lower(), done.stdout)
    done = subprocess.run([*w.lab.enter("app"), *w.user, "sh", "-c",
                           f"cd {w.folder}/work && exec {w.callveil} run -- pwd"],
                          capture_output=True, text=True, timeout=30)
    w.check("the folder is the same", done.stdout.strip() == f"{w.folder}/work", done)
    done = w.run("sh", "-c", "id -u; id -g; ps -o sid= -p $$ || true")
    w.check("the user is the same", done.stdout.split()[:2] == ["1000", "1000"], done)
    w.finish_sealed(least=4, least_peers=0)


@case
def signals(w):
    w.begin()
    for name, status in (("TERM", 3), ("INT", 4), ("HUP", 5), ("QUIT", 6), ("USR1", 7)):
        script = (f"trap 'exit {status}' {name}; echo ready; "
                  "i=0; while [ $i -lt 100 ]; do sleep 0.1; i=$((i+1)); done")
        app = w.start("sh", "-c", script)
        w.check(f"SIG{name} is passed on", app.says("ready")
                and app.end(getattr(signal, f"SIG{name}")) == status, app.text())
    app = w.start("sh", "-c", "echo ready; exec sleep 30")
    w.check("a signal that ends it: 128 + n", app.says("ready")
            and app.end(signal.SIGTERM) == 143, app.text())
    w.finish_sealed(least=4, least_peers=0)


def type_at(w, argv, keys, seconds=20):
    """A shell with job control on a terminal of its own. Return: what it shows."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execvp(argv[0], argv)
    shown = b""
    end = time.monotonic() + seconds
    os.set_blocking(fd, False)
    while time.monotonic() < end:
        try:
            shown += os.read(fd, 4096)
        except BlockingIOError:
            time.sleep(0.05)
        except OSError:
            break
        if keys and keys[0][0] in shown.decode(errors="replace"):
            time.sleep(0.5)  # what is typed while the terminal changes hands is thrown away
            os.write(fd, keys[0][1].encode())
            keys = keys[1:]
            shown = shown if keys else shown + b"<all typed>"
    os.close(fd)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return shown.decode(errors="replace")


@case
def terminal(w):
    w.begin()
    shell = [*w.lab.enter("app"), *w.user, "PS1=$ ", "bash", "--norc", "--noprofile", "-i"]
    run_cat = f"{w.callveil} run -- cat\n"
    shown = type_at(w, shell, [("$ ", run_cat), ("cat\r\n", "hel"), ("hel", "lo\n"),
                               ("hello\r\nhello", "\x03"), ("^C", "echo status-$?\n"),
                               ("status-130", "exit\n")])
    w.check("Ctrl-C ends the program, and the shell goes on", "status-130" in shown, shown)
    shown = type_at(w, shell, [("$ ", run_cat), ("cat\r\n", "one\n"), ("one\r\none", "\x1a"),
                               ("Stopped", "fg\n"), ("cat\r\n", "two\n"), ("two\r\ntwo", "\x04"),
                               ("$ ", "echo status-$?\n"), ("status-0", "exit\n")])
    w.check("Ctrl-Z stops it, and fg goes on with it", "Stopped" in shown and "status-0" in shown,
            shown)
    shown = type_at(w, shell, [("$ ", f"{w.callveil} run -- bash --norc --noprofile -i\n"),
                               ("$ ", "sleep 50\n"), ("sleep 50\r\n", "\x1a"), ("Stopped", "jobs\n"),
                               ("jobs\r\n", "kill %1\n"), ("$ ", "exit 7\n"),
                               ("exit", "echo status-$?\n"), ("status-", "exit\n")], 15)
    w.check("a sealed shell has job control of its own", "Stopped" in shown
            and "no job control" not in shown, shown)
    w.finish_sealed(least=4, least_peers=0)


# ---- without a proxy that runs, and where it cannot be ----

@case
def proxy_of_its_own(w):
    w.begin()
    w.end_local()
    conf = ["-c", f"{w.folder}/local.conf"]
    start = time.monotonic()
    done = w.run(PYTHON, w.attempts, "talk", options=conf)
    w.check("a proxy of its own serves it", "answered answered answered answered" in done.stdout,
            f"{done.stdout}{done.stderr}")
    w.note(f"took {time.monotonic() - start:.2f} s")
    w.check("and is gone with it", not sealed_pids(w, "callveil-local")
            and not sealed_pids(w, "callveil-keeper"))
    os.makedirs(f"{w.folder}/home/.config/callveil")
    done = w.run("echo", "started")
    w.check("without a configuration nothing starts", done.returncode == 2
            and "local.conf" in done.stderr and "started" not in done.stdout, done)
    with open(f"{w.folder}/home/.config/callveil/local.conf", "w") as f:
        f.write(open(f"{w.folder}/local.conf").read())
    w.own(f"{w.folder}/home/.config/callveil/local.conf")
    os.chmod(f"{w.folder}/home/.config/callveil/local.conf", 0o644)
    done = w.run("echo", "started")
    w.check("the standard one is found", done.returncode == 0, done)
    w.relay.end(signal.SIGKILL)
    done = w.run("echo", "started", options=conf)
    w.check("without a relay it starts, says so, and is sealed all the same",
            done.returncode == 0 and "cannot be reached" in done.stderr, done)
    w.start_relay()
    w.finish_sealed(ends=False)


def becomes_who_called_sudo(w):
    """nobody, whom every system has."""
    conf = shutil.copy(f"{w.folder}/local.conf", f"{w.folder}/nobody.conf")
    os.chown(conf, 65534, 65534)
    done = subprocess.run([*w.lab.enter("app"), "env", f"HOME={w.folder}", "SUDO_UID=65534",
                           w.callveil, "run", "-c", conf, "--", "sh", "-c",
                           "id -u; id -ru; id -G; echo $HOME"],
                          capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
    w.check("as root, it is who called sudo", done.stdout.split()[:3] == ["65534"] * 3
            and w.folder not in done.stdout, done)


@case
def where_it_cannot_be(w):
    """One line with what helps, status 2, and the program never starts."""
    w.begin()
    mark = f"{w.folder}/work/started"

    def refused(what, argv, words, **more):
        done = subprocess.run([*w.lab.enter("app"), *argv], capture_output=True, text=True,
                              timeout=30, stdin=subprocess.DEVNULL, **more)
        w.check(what, done.returncode == 2 and re.search(words, done.stderr)
                and len(done.stderr.splitlines()) == 1 and not os.path.exists(mark), done)

    run = [w.callveil, "run", "--", "touch", mark]
    bound = ["unshare", "--user", "--map-current-user", "--keep-caps", "sh", "-c",
             "echo 0 >/proc/sys/user/{}; exec \"$@\"", "sh"]
    for limit in ("max_user_namespaces", "max_net_namespaces", "max_mnt_namespaces"):
        limited = [part.format(limit) for part in bound]
        refused(f"{limit} is 0", [*w.user, *limited, *run], "sysctl")
    refused("as root, with nobody to be", ["env", "-u", "SUDO_UID", *run], "--user")
    refused("as root, for a user that is none",
            [w.callveil, "run", "--user", "zkqnobody", "--", "touch", mark], "no user")
    if w.is_root:
        becomes_who_called_sudo(w)
    refused("a folder of the proxy's that others may enter", [
        *w.user, "sh", "-c", f"chmod 755 {w.folder}/runtime/callveil; exec \"$@\"", "sh", *run],
        "this user's alone")
    os.chmod(f"{w.folder}/runtime/callveil", 0o700)
    w.finish_sealed(least=4, least_peers=0)


@case
def files_of_the_resolver(w):
    w.begin()
    done = w.run("cat", "/etc/resolv.conf")
    w.check("resolv.conf names the gate", "nameserver 192.0.2.1" in done.stdout
            and place.GATEWAY not in done.stdout, done)
    done = w.run("grep", "^hosts", "/etc/nsswitch.conf")
    w.check("nsswitch.conf asks files and DNS", done.stdout == "hosts: files myhostname dns\n",
            done)
    for folder in ("/run/systemd/resolve", "/run/nscd", "/run/avahi-daemon"):
        if not os.path.isdir(folder):
            continue
        done = w.run("ls", folder)
        w.check(f"{folder} is empty", done.stdout == "" and done.returncode == 0, done)
    stub = ("import socket; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5); "
            "s.sendto(bytes.fromhex('123401000001000000000000')+b'\\x08zkqname7\\x03far"
            "\\x04test\\0\\0\\x01\\0\\x01', ('127.0.0.53', 53)); print(s.recvfrom(500))")
    done = w.run(PYTHON, "-c", stub)
    w.check("a stub resolver on loopback is the gate too", "127.0.0.53" in done.stdout, done)
    w.finish_sealed(least=4, least_peers=0)


@case
def explained(w):
    w.begin()
    done = w.run(options=["--explain"])
    w.check("--explain says what would be set up", done.returncode == 0
            and all(word in done.stdout for word in ("192.0.2.2", "resolv.conf", "D-Bus")), done)
    fake = f"{w.folder}/work/chromium"
    with open(fake, "w") as f:
        f.write("#!/bin/sh\nprintf '%s\\n' \"$@\"\nls -d \"${1#--user-data-dir=}\"\n")
    os.chmod(fake, 0o755)
    done = w.run(fake, "page")
    words = done.stdout.split()
    w.check("a browser gets a profile of its own", len(words) == 3
            and words[0] == "--user-data-dir=" + words[2] and words[1] == "page", done)
    w.check("which is removed at the end", not os.path.exists(words[2]), words)
    done = w.run(fake, "--user-data-dir=/etc", "page")
    w.check("unless the command chooses one", done.stdout.split()[:2]
            == ["--user-data-dir=/etc", "page"], done)
    os.symlink(f"host-{os.getpid()}", f"{w.folder}/work/SingletonLock")
    for argv, options in (([fake, f"--user-data-dir={w.folder}/work"], []),
                          ([fake], ["--profile", f"{w.folder}/work"])):
        done = w.run(*argv, options=options)
        w.check(f"one that another browser uses is refused ({'profile' if options else 'its own'})",
                done.returncode == 2 and "in use" in done.stderr, done)
    w.finish_sealed(least=4, least_peers=0)
