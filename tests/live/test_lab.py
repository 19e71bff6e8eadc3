"""A lab is built, used and taken down by the real command, as root and as an ordinary user; nothing of it stays."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.live.host import AS_ROOT, MEETME, USER, Host, a_host, eventually, why_not_as_user

pytestmark = pytest.mark.live


@pytest.fixture(params=[AS_ROOT, "user"])
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    user = USER if request.param == "user" else 0
    if user and (reason := why_not_as_user()):
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="labs-"))
    folder.chmod(0o755)
    os.chown(folder, user, user)
    try:
        with a_host(user, folder) as made:
            yield made
    finally:
        shutil.rmtree(folder)


_MOMENTS = 10
PAIR = 'LAB_NAME="pair"\na[0]=wire\nb[0]=wire\n'
ADDRESSES = {f"{name}__startup": f"ip address add 10.0.0.{n}/24 dev eth0" for n, name in ((1, "a"), (2, "b"))}


def test_up_exec_inspect_down(host: Host) -> None:
    host.write("pair", lab__conf=PAIR, **ADDRESSES)
    before = host.traces()
    planned = host.json("up", "pair", "--dry-run")
    assert host.traces() == before, "a dry run touches nothing"
    assert host.json("up", "pair") == planned, "plan and result are the same table"

    assert [(lab["lab"], lab["machines"]) for lab in host.json("list")] == [("pair", ["a", "b"])]
    assert "1 received" in host.inside("pair", "a", "ping -c 1 -W 2 10.0.0.2")
    assert host.inside("pair", "a", "hostname; id -u") == "a\n0"
    seen = host.json("inspect", "pair")
    assert seen["machines"][1]["interfaces"][0]["addresses"] == ["10.0.0.2/24"]
    assert "ip address add 10.0.0.2/24 dev eth0" in seen["machines"][1]["startup_log"]

    host.lab("down", "pair")
    assert host.json("list") == []
    assert host.traces() == before
    assert "has to be up" in host.lab("exec", "pair", "a", "--", "true", status=2)
    host.lab("down", "pair")  # as wished already
    assert host.traces() == before


def test_exec_passes_streams_status_and_terminal(host: Host) -> None:
    host.write("pair", lab__conf=PAIR)
    host.lab("up", "pair")
    assert host.lab("exec", "pair", "a", "--", "tr", "a-z", "A-Z", stdin="loud\n") == "LOUD\n"
    assert host.lab("exec", "pair", "a", "sh", "-c", "echo out; echo err >&2; exit 7", status=7) == "err\n"
    assert "No such file" in host.lab("exec", "pair", "a", "--", "no-such-program", status=127)
    host.lab("exec", "pair", "a", "--", "sh", "-c", "kill -TERM $$", status=128 + signal.SIGTERM)
    assert "is one of a, b" in host.lab("exec", "pair", "c", "--", "true", status=2)

    ours, theirs = pty.openpty()
    inside = host.start("exec", "pair", "a", "--", "sh", "-c", "test -t 0 && exec cat", stdin=theirs)
    os.close(theirs)
    os.write(ours, b"typed\n")
    assert inside.stdout is not None
    assert inside.stdout.readline() == "typed\n"
    os.write(ours, b"\x04")
    assert inside.wait(10) == 0
    os.close(ours)

    waiting = host.start(
        "exec", "pair", "b", "--", "sh", "-c", "trap 'exit 9' TERM; echo set; while :; do sleep 0.1; done"
    )
    assert waiting.stdout is not None
    assert waiting.stdout.readline() == "set\n"
    command = host.run("pgrep -f 'cli.lab exec pair b' | tail -n +1").split()
    host.run(f"kill -TERM {command[0]}")
    assert waiting.wait(10) == 9, "a signal reaches the program inside"


def test_files_of_a_lab(host: Host) -> None:
    host.write(
        "files",
        lab__conf='a[0]=wire\na[env]="COLOUR=green"\nb[0]=wire\na[exec]="echo $COLOUR > /var/colour"\n',
        shared__startup="echo shared >> /var/order",
        a__startup="echo own >> /var/order\r\n",
        a___etc___deep___file="of a",
        a___usr___local___bin___tool="#!/bin/sh\necho tool",
        shared___note="from the host",
    )
    (host.folder / "files/a/usr/local/bin/tool").chmod(0o755)
    before = host.traces()
    host.lab("up", "files")
    assert host.inside("files", "a", "cat /etc/deep/file; tool; cat /var/order") == "of atool\nshared\nown"
    assert host.inside("files", "b", "cat /var/order; ls /etc/deep", status=2) != ""
    assert host.inside("files", "a", "cat /var/colour; echo $COLOUR") == "green\ngreen"
    assert host.inside("files", "b", "echo $COLOUR; cat /shared/note; echo answer > /shared/note") == "from the host"
    assert (
        host.inside("files", "a", "cat /shared/note; cat /etc/hostname; getent hosts a")
        == "answer\na\n127.0.0.1       localhost a"
    )
    host.lab("down", "files")
    assert host.traces() == before
    assert (host.folder / "files/shared/note").read_text() == "answer\n"


def test_without_a_shared_folder_machines_share_one_that_goes_with_the_lab(host: Host) -> None:
    host.write(
        "pair", lab__conf=PAIR, a__startup="until [ -e /shared/b ]; do sleep 0.05; done", b__startup="touch /shared/b"
    )
    before = host.traces()
    host.lab("up", "pair")
    host.lab("down", "pair")
    assert host.traces() == before


def test_the_host_is_read_only_and_machines_do_not_see_each_other(host: Host) -> None:
    host.write("pair", lab__conf=PAIR)
    host.lab("up", "pair")
    places = "/etc/x /var/x /root/x /run/x /tmp/x /var/lib/x /etc/network/x /dev/shm/x"
    host.inside(
        "pair", "a", "mkdir -p /etc/network; " + "; ".join(f"touch {place} || exit 1" for place in places.split())
    )
    host.inside("pair", "a", "echo 10.0.0.9 nine >> /etc/hosts && rm /etc/passwd && mkdir /var/lib/new")
    host.inside(
        "pair", "b", f"for place in {places} /var/lib/new; do test ! -e $place || exit 1; done; test -e /etc/passwd"
    )
    assert "nine" not in host.inside("pair", "b", "cat /etc/hosts")
    for place in ("/usr/x", "/dev/x", "/usr/bin/x"):
        assert "Read-only file system" in host.inside("pair", "a", f"touch {place}", status=1)
    host.lab("down", "pair")
    leftover = [place for place in (*places.split(), "/var/lib/new") if os.path.exists(place)]
    assert leftover == []
    assert Path("/etc/passwd").exists()


def test_machines_are_machines(host: Host) -> None:
    host.write(
        "one",
        lab__conf='r[0]=A\nr[1]=B\nr[sysctl]="net.ipv4.conf.eth1.rp_filter=2"\ns[0]=A/02:00:00:00:00:07\ns[ipv6]=yes\nr[mem]=1m',
    )
    assert "ignored, they speak of containers: mem" in host.start("up", "one").communicate()[1]
    sysctl = "cd /proc/sys/net/ipv4; cat ip_forward conf/eth1/rp_filter conf/eth0/rp_filter"
    assert host.inside("one", "r", sysctl) == "1\n2\n0"
    assert host.inside("one", "r", "ip -6 address show dev eth0") == ""
    assert "fe80" in host.inside("one", "s", "ip -6 address show dev eth0")
    assert (
        host.inside("one", "s", "cat /sys/class/net/eth0/address; ls /sys/class/net") == "02:00:00:00:00:07\neth0\nlo"
    )
    # The kernel says "unknown" until it has looked at a new interface, which it does in its own time.
    settled = "timeout 5 sh -c 'while grep -q unknown /sys/class/net/eth*/operstate; do sleep 0.05; done'; "
    states = "cat /sys/class/net/eth*/operstate /sys/class/net/lo/flags"
    assert host.inside("one", "r", settled + states) == "up\nup\n0x9"
    assert host.inside("one", "r", "command -v meetme")
    # What the driver of a border router needs: namespaces by name, moved ports, nftables, connection tracking.
    host.inside(
        "one",
        "r",
        "ip netns add c1 && ip link set eth1 netns c1 && ip link add v0 type veth peer name v1 netns c1 "
        "&& ip netns exec c1 ip link set v1 up && ip netns exec c1 nft add table ip t && ip netns list | grep c1 "
        "&& ip netns exec c1 conntrack -L && ip netns exec c1 sysctl -w net.ipv4.conf.v1.rp_filter=2 "
        "&& ip netns exec c1 ip link set eth1 netns 1 2>/dev/null || ip netns del c1",
    )
    assert host.inside("one", "s", "ip netns list") == ""
    host.lab("down", "one")


def test_a_domain_of_three_is_a_switch_that_lets_everything_through(host: Host) -> None:
    host.write(
        "lan",
        lab__conf="a[0]=lan\nb[0]=lan\nc[0]=lan\nd[0]=other",
        checks__toml="".join(
            f'[[step]]\nname = "{name} {to}"\nfrom = "a"\nto = "{to}"\nproto = "ethernet"\n{more}\n'
            for to in ("b", "c")
            for name, more in (
                ("frame", ""),
                ("spanning tree", 'address = "01:80:c2:00:00:00"'),
                ("slow protocols", 'address = "01:80:c2:00:00:02"\nethertype = 0x8809'),
                ("neighbour discovery", 'address = "01:80:c2:00:00:0e"\nethertype = "0x88cc"'),
                ("multicast", 'address = "01:00:5e:00:01:02"'),
            )
        )
        + '[[step]]\nname = "apart"\nfrom = "a"\nto = "d"\nproto = "ethernet"\nexpect = "blocked"\nwithin = 0.3\n',
    )
    host.lab("up", "lan")
    report = host.json("verify", "lan")
    assert [check["name"] for check in report["checks"] if not check["ok"]] == []
    assert report["ok"]
    host.lab("down", "lan")


def test_verify_believes_only_packets(host: Host) -> None:
    def step(name: str, **facts: object) -> str:
        facts = {"from": "a", "to": "b", "address": "10.0.0.2", "within": 0.5, **facts}
        lines = [f"{key} = {f'{value!r}' if isinstance(value, str) else value}" for key, value in facts.items()]
        return "\n".join(["[[step]]", f"name = {name!r}", *lines, ""])

    host.write(
        "pair",
        lab__conf=PAIR,
        a__startup=ADDRESSES["a__startup"] + "\nip route add 10.9.0.0/16 via 10.0.0.2",
        b__startup=ADDRESSES["b__startup"]
        + "\nnft 'add table ip f; add chain ip f i { type filter hook input priority 0; }'"
        + "\nnft 'add rule ip f i iifname eth0 tcp dport 99 drop; add rule ip f i iifname eth0 udp dport 98 drop'",
        checks__toml="\n".join(
            [
                step("ping"),
                step("ping of full size", size=1500),
                step("tcp", proto="tcp", size=200000),
                step("udp", proto="udp", port=53),
                step("tcp dropped", proto="tcp", port=99, expect="blocked"),
                step("udp dropped", proto="udp", port=98, expect="blocked"),
                step("nobody's address", address="10.9.0.1", expect="blocked"),
                '[[step]]\non = "b"\nrun = "nft delete table ip f"\n',
                step("too large", size=1501),
                step("not dropped any more", proto="tcp", port=99, expect="blocked"),
                step("never sent", address="172.16.0.1", expect="blocked"),
                step("elsewhere", address="10.9.0.1"),
            ]
        )
        + '[[step]]\nname = "no agreement"\nfrom = "a"\nto = "b"\n'
        + '[[step]]\non = "a"\nrun = "exit 3"\n[[step]]\nname = "after a failed action"\nfrom = "a"\nto = "b"\n',
    )
    host.lab("up", "pair")
    told = host.lab("verify", "pair", status=1)
    assert "a: exit 3: failed (status 3)" in told
    process = host.start("verify", "pair", "--format", "json")
    report = json.loads(process.communicate()[0])
    assert process.returncode == 1
    good = {"ping", "ping of full size", "tcp", "udp"}
    # The second run finds the firewall gone: what it dropped arrives now, and that is told.
    assert {check["name"] for check in report["checks"] if check["ok"]} == {*good, "nobody's address"}
    assert set(report) == {"lab", "ok", "checks"}
    assert not report["ok"]
    by_name = {check["name"]: check for check in report["checks"]}
    assert by_name["ping"] == {
        "name": "ping",
        "ok": True,
        "from": "a",
        "to": "b",
        "proto": "icmp",
        "address": "10.0.0.2",
        "sent": by_name["ping"]["sent"],
        "received": by_name["ping"]["received"],
        "seen_as": "10.0.0.1",
    }
    assert by_name["ping"]["sent"] >= by_name["ping"]["received"] >= 1
    for line in (
        "ok     tcp dropped",
        "ok     udp dropped",
        "ok     nobody's address",
        "FAILED too large: nothing was sent",
        "FAILED not dropped any more: it arrived",
        "FAILED never sent: nothing was sent",
        "FAILED elsewhere: it did not arrive",
        "FAILED no agreement: no active agreement joins the two",
        "FAILED after a failed action: not made",
    ):
        assert line in told, told
    host.lab("down", "pair")


def test_machines_start_in_the_order_of_lab_dep(host: Host) -> None:
    host.write(
        "order",
        lab__conf="a[0]=A\nb[0]=A\nc[0]=A",
        lab__dep="a: b\nb: c",
        shared__startup="echo $HOSTNAME >> /shared/order",
        shared___order="",
    )
    host.lab("up", "order")
    assert (host.folder / "order/shared/order").read_text().split() == ["c", "b", "a"]
    host.lab("down", "order")


def test_a_lab_outlives_the_command_that_built_it(host: Host) -> None:
    host.write("pair", lab__conf=PAIR, a__startup="sleep 1000 &")
    host.lab("up", "pair")
    keeper = host.json("list")[0]["keeper"]
    fields = host.run(f"cat /proc/{keeper}/stat").rpartition(")")[2].split()
    assert fields[1] == "0" or fields[1] == "1", "nobody's child but the first process's"
    assert fields[3] == str(keeper), "a session of its own"
    assert fields[4] == "0", "no controlling terminal"
    assert "sleep 1000" in host.inside("pair", "a", "ps ax -o args")
    assert "sleep 1000" in host.inside("pair", "b", "ps ax -o args"), "one PID namespace for the lab"
    host.lab("down", "pair")
    assert "sleep 1000" not in host.run("ps ax -o args")


def test_two_labs_do_not_disturb_each_other(host: Host) -> None:
    host.write("one", lab__conf=PAIR, **ADDRESSES)
    host.write("two", lab__conf=PAIR, **ADDRESSES)
    before = host.traces()
    host.lab("up", "one")
    with_one = host.traces()
    starting = host.start("up", "two")
    assert starting.wait(20) == 0
    assert "its own" in host.lab("exec", "pair", "a", "--", "true", status=1), "the name alone would be a guess"
    host.inside("one", "a", "echo one > /etc/mark; ping -c 1 -W 2 10.0.0.2")
    host.inside("two", "a", "test ! -e /etc/mark && ping -c 1 -W 2 10.0.0.2")
    host.lab("down", "two")
    assert host.traces() == with_one
    assert (
        host.inside("one", "a", "cat /etc/mark; ping -q -c 1 -W 2 10.0.0.2 | grep -o '1 received'") == "one\n1 received"
    )
    assert [lab["directory"] for lab in host.json("list")] == [str(host.folder / "one")]
    host.lab("down", "pair")
    assert host.traces() == before


def test_up_twice_is_a_conflict(host: Host) -> None:
    host.write("pair", lab__conf=PAIR)
    host.lab("up", "pair")
    assert "a lab is built once" in host.lab("up", "pair", status=1)
    host.inside("pair", "a", "true")
    host.lab("down", "pair")


def test_a_killed_up_is_cleaned_up_by_down_and_does_not_block_the_next(host: Host) -> None:
    host.write("pair", lab__conf=PAIR, a__startup="sleep 0.1 & wait")
    before = host.traces()
    took = host.json("up", "pair") and host.json("inspect", "pair")["seconds"] + 0.2
    host.lab("down", "pair")
    survived = 0
    for moment in range(_MOMENTS):
        starting = host.start("up", "pair")
        with suppress(subprocess.TimeoutExpired):
            starting.wait(took * moment / _MOMENTS or 0.001)
        for process in host.run("pgrep -f 'cli[.]lab up pair' || true").split():
            subprocess.run(host.command("kill", "-9", process), capture_output=True, check=False)
        starting.kill()
        starting.wait()
        if host.json("list"):
            survived += 1  # it was through already: then it is a lab like any other
            host.inside("pair", "a", "true")
        else:
            eventually(lambda: host.processes() == before["processes"])
        if moment % 2:  # the next `up` needs no `down` in between
            host.lab("down", "pair")
        elif not host.json("list"):
            host.lab("up", "pair")
        host.lab("down", "pair")
        assert host.traces() == before
    assert survived < _MOMENTS


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_up_cleans_up_at_once(host: Host, number: signal.Signals) -> None:
    host.write("pair", lab__conf=PAIR, a__startup="sleep 1000")
    before = host.traces()
    starting = host.start("up", "pair")
    assert starting.stderr is not None
    assert "2 machines joined" in starting.stderr.readline()
    command = host.run("pgrep -f 'cli[.]lab up pair'").split()[0]
    host.run(f"kill -{number.name.removeprefix('SIG')} {command}")
    assert starting.wait(10) == 130
    assert host.traces() == before


def test_a_failed_startup_is_told_and_leaves_nothing(host: Host) -> None:
    host.write(
        "bad",
        lab__conf='a[0]=A\nb[0]=A\nc[0]=A\nc[exec]="ip link set nosuch up"\nd[0]=A\n',
        a__startup="true\n\nip address add nonsense dev eth0\necho went on\nfalse || true\n",
        b__startup="echo fine\nf() {\n  exit 4\n}\nf\n",
        d__startup="if true\nthen fi\n",
    )
    before = host.traces()
    told = host.lab("up", "bad", status=1)
    assert 'a: a.startup:3: "ip address add nonsense dev eth0" failed (status 1)' in told
    assert 'Error: any valid prefix is expected rather than "nonsense".' in told
    assert "b: b.startup:3: failed (status 4)" in told
    assert 'c: lab.conf: "ip link set nosuch up" failed (status 1)' in told
    assert "d: d.startup:2: failed (status 2)" in told
    assert "syntax error" in told
    assert host.traces() == before


def test_a_startup_that_never_ends_is_ended(host: Host) -> None:
    host.write("slow", lab__conf=PAIR, a__startup="sleep 1000", b__startup="true")
    before = host.traces()
    assert "startup of a: not finished in time (1.5 s)" in host.lab("up", "slow", "--timeout", "1.5", status=1)
    assert host.traces() == before


def test_bad_files_are_told_all_at_once_and_nothing_is_built(host: Host) -> None:
    host.write("bad", lab__conf="a [0]=A\nb[0]=A\nb[2]=B\n", lab__dep="b: z\n", y__startup="true")
    before = host.traces()
    told = host.lab("up", "bad", status=2)
    for place in ("lab.conf:1: ", "lab.conf:3: ", "lab.dep:1: ", "y.startup: "):
        assert place in told
    assert host.traces() == before


def test_what_cannot_be_set_is_told(host: Host) -> None:
    host.write("bad", lab__conf='a[0]=A\na[sysctl]="net.ipv4.no_such=1"')
    before = host.traces()
    assert "a: sysctl net.ipv4.no_such=1: No such file" in host.lab("up", "bad", status=1)
    assert host.traces() == before


_FORBID = 'echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set=-all --inh-caps=-all "$@"'


def test_where_namespaces_are_forbidden_the_one_command_that_helps_is_told(host: Host) -> None:
    host.write("pair", lab__conf=PAIR)
    forbidding = ["unshare", "--user", "--map-root-user", "sh", "-c", _FORBID, "sh"]
    command = host.command(*forbidding, *MEETME, "up", "pair")
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    assert done.returncode == 1
    assert "this host forbids user namespaces to ordinary users" in done.stderr
    assert "sudo sysctl -w user.max_user_namespaces=10000" in done.stderr
