"""Which machine is this: facts that everybody may read, from recorded trees, and what is left where none lasts."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from suite.catalogue.devices import DEVICES
from suite.devices.backend import passing_line
from suite.devices.cpu import Cpu
from suite.devices.identity import container, hardware_addresses, host_name, identify

CPUINFO = "cpu family\t: 25\nmodel\t\t: 1\nmodel name\t: AMD EPYC\n"
IMAGE = {"proc/cpuinfo": CPUINFO, "etc/machine-id": "3d1219c7c4c5404aaa1f6d2a48adfda4\n", "etc/hostname": "vm\n"}
BOOT = "proc/sys/kernel/random/boot_id"
DMI = "sys/class/dmi/id"


@pytest.fixture(autouse=True)
def unnamed(monkeypatch):
    monkeypatch.delenv("TEXT3D_BOARD", raising=False)


def tree(root: Path, files: dict[str, str] | None = None, mode: int = 0o444) -> Path:
    """Files below a root, for everybody to read whatever the umask says."""
    for name, content in (files or {}).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(content)
        path.chmod(mode)
    return root


def host(root: Path, **files: str) -> Path:
    """A virtual machine of one image, with more or other files; slashes of their names are written `__`."""
    return tree(root, IMAGE | {name.replace("__", "/"): text for name, text in files.items()})


def interface(
    root: Path, name: str, address: str, assigned: str | None = "0", bus: str | None = "pci0000:00/0"
) -> Path:
    """A network interface; one without a bus is virtual."""
    folder = root / "sys/class/net" / name
    tree(folder, {"address": address + "\n"} | ({} if assigned is None else {"addr_assign_type": assigned + "\n"}))
    if bus is not None:
        device = root / "sys/devices" / bus
        device.mkdir(parents=True, exist_ok=True)
        (folder / "device").symlink_to(device)
    return root


def board(root: Path):
    return Cpu(DEVICES["cpu"], root).find_board()


# Two hosts from one image.


@pytest.mark.parametrize(
    "own",
    [
        {"etc/hostname": "other\n"},
        {"sys/hypervisor/uuid": "ec2e1916-9099-7caf-fd21-012345abcdef\n"},
        {f"{DMI}/product_uuid": "4c4c4544-0044-4a10-8052-cac04f4e4432\n"},
        {f"{DMI}/board_asset_tag": "i-0123456789abcdef0\n"},
        {f"{DMI}/product_name": "another product\n"},
        {f"{DMI}/board_name": "another board\n"},
        {"proc/device-tree/serial-number": "1423521012345\0"},
        {"etc/machine-id": "ffffffffffffffffffffffffffffffff\n"},
    ],
    ids=lambda own: next(iter(own)),
)
def test_two_hosts_from_one_image_are_two_boards(tmp_path, own):
    one, other = board(host(tmp_path / "one")), board(tree(host(tmp_path / "other"), own))
    assert one.id != other.id and one.chip == other.chip
    assert one.passing is other.passing is None and "passing" not in one.id + other.id


def test_a_network_card_tells_two_hosts_apart(tmp_path):
    ids = [board(interface(host(tmp_path / a), "eth0", f"52:54:00:00:00:{a}")).id for a in ("01", "02")]
    assert len({*ids, board(host(tmp_path / "none")).id}) == 3


def test_one_machine_is_one_board_through_boots_and_copies_of_its_tree(tmp_path):
    first = interface(host(tmp_path / "a", proc__sys__kernel__random__boot_id="1"), "eth0", "a4:bf:01:00:00:01")
    later = interface(host(tmp_path / "b", proc__sys__kernel__random__boot_id="2"), "eth0", "A4:BF:01:00:00:01")
    assert board(first) == board(first) == board(later)


def test_what_root_alone_may_read_is_nobodys_identity(tmp_path):
    plain = board(host(tmp_path / "plain")).id
    secret = tree(host(tmp_path / "secret"), {f"{DMI}/product_uuid": "4c4c4544\n"}, mode=0o400)
    assert board(secret).id == plain
    (secret / f"{DMI}/product_uuid").chmod(0o444)
    assert board(secret).id != plain


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_root_and_nobody_name_one_board_on_this_machine():
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgid(65534)
            os.setuid(65534)
            os.write(writing, identify().serial.encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        assert answer.read() == identify().serial
    os.waitpid(child, 0)


# Host names and network cards.


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"etc/hostname": "kept\n", "proc/sys/kernel/hostname": "now\n"}, "kept"),
        ({"proc/sys/kernel/hostname": "now\n"}, "now"),
        ({"etc/hostname": "localhost\n", "proc/sys/kernel/hostname": "ip-10-0-0-7\n"}, "ip-10-0-0-7"),
        ({"etc/hostname": "localhost\n", "proc/sys/kernel/hostname": "(none)\n"}, None),
        ({}, None),
    ],
)
def test_the_host_name_is_the_one_to_keep_unless_it_is_none(tmp_path, files, name):
    assert host_name(tree(tmp_path, files)) == name


def test_only_the_addresses_count_that_last(tmp_path):
    root = interface(tmp_path, "eth1", "a4:bf:01:00:00:02")
    interface(root, "eth0", "52:54:00:00:00:01")  # chosen by a hypervisor, which gives it again
    assert hardware_addresses(root) == ["52:54:00:00:00:01", "a4:bf:01:00:00:02"]
    known = hardware_addresses(root)
    interface(root, "eth2", "a4:bf:01:00:00:02")  # a slice of eth1's card with its address
    interface(root, "docker0", "02:42:00:00:00:01", bus=None)
    interface(root, "eth3", "5a:11:22:33:44:55", assigned="1")  # drawn by the kernel at this boot
    interface(root, "eth4", "5a:11:22:33:44:56", assigned="3")
    interface(root, "eth5", "5a:11:22:33:44:57", assigned=None)
    interface(root, "eth6", "00:00:00:00:00:00")
    interface(root, "ib0", "80:00:02:08:fe:80:00:00:00:00:00:00:00:02:c9:03:00:1f:a1:b1")
    interface(root, "enx1", "00:e0:4c:00:00:01", bus="pci0000:00/0000:00:14.0/usb2/2-1")  # a laptop's dock
    (root / "sys/class/net/bonding_masters").write_text("bond0\n")
    assert hardware_addresses(root) == known
    assert hardware_addresses(tmp_path / "nothing here") == []


def test_wireless_and_bonded_cards_say_their_own_address_while_they_wear_another(tmp_path):
    root = interface(tmp_path, "wlan0", "5a:00:00:00:00:09", assigned="3", bus="pci0000:00/1")
    tree(root, {"sys/class/net/wlan0/phy80211/macaddress": "a4:bf:01:00:00:03\n"})
    interface(root, "eth0", "a4:bf:01:00:00:02", assigned="3", bus="pci0000:00/2")
    tree(root, {"sys/class/net/eth0/bonding_slave/perm_hwaddr": "a4:bf:01:00:00:04\n"})
    assert hardware_addresses(root) == ["a4:bf:01:00:00:03", "a4:bf:01:00:00:04"]


# What does not last.

MARKS = {
    "docker": {".dockerenv": ""},
    "podman": {"run/.containerenv": ""},
    "systemd in a container": {"run/systemd/container": "lxc\n"},
    "nspawn": {"run/host/container-manager": "systemd-nspawn\n"},
    "docker, groups of version 1": {"proc/self/cgroup": "4:cpu,cpuacct:/docker/abc\n0::/\n"},
    "docker, a scope": {"proc/self/cgroup": "0::/system.slice/docker-0123456789abcdef.scope\n"},
    "kubernetes": {
        "proc/self/cgroup": "0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-0123456789abcdef.scope\n"
    },
    "lxc": {"proc/self/cgroup": "0::/lxc.payload.web/user.slice\n"},
    "kubernetes, with a namespace of groups": {
        "proc/self/cgroup": "0::/\n",
        "proc/self/mountinfo": (
            "1 0 0:5 / / rw - overlay overlay rw\n2 1 8:1 /pods/a/etc-hosts /etc/hosts rw - ext4 /dev/sda1 rw\n"
        ),
    },
    "lxcfs": {"proc/self/mountinfo": "3 1 0:50 /proc/cpuinfo /proc/cpuinfo rw shared:9 - fuse.lxcfs lxcfs rw\n"},
}


@pytest.mark.parametrize("mark", MARKS.values(), ids=MARKS)
def test_in_a_container_a_board_is_of_this_boot_and_this_container(tmp_path, mark):
    def in_container(name: str, boot: str, container_name: str = "0a1b2c"):
        root = tree(host(tmp_path / name), mark | {BOOT: boot, "proc/sys/kernel/hostname": container_name})
        return board(root)

    first = in_container("first", "boot 1")
    assert first == in_container("again", "boot 1")
    assert len({first.id, in_container("b", "boot 2").id, in_container("c", "boot 1", "ffffff").id}) == 3
    assert first.id.startswith("cpu-amd-epyc-family-25-model-1-passing-")
    assert "container" in first.passing
    line = passing_line("cpu", first)
    assert "\n" not in line and first.id in line and "of this boot only" in line and "TEXT3D_BOARD=NAME" in line


@pytest.mark.parametrize(
    "files",
    [
        {"proc/self/cgroup": "0::/system.slice/docker.service\n"},  # the engine itself
        {"proc/self/cgroup": "0::/user.slice/user-1000.slice/session-2.scope\n", "proc/1/environ": "container=lxc\0"},
        {
            "proc/self/mountinfo": (
                "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:5 / /var/lib/docker/overlay2/a rw - overlay o rw\n"
            )
        },
        {"proc/self/mountinfo": "junk\n - \n"},
    ],
)
def test_a_host_that_runs_containers_is_none(tmp_path, files):
    root = tree(host(tmp_path), files)
    assert container(root) is None and identify(root).passing is None


@pytest.mark.parametrize("machine_id", [None, "", "uninitialized\n"])
def test_a_machine_without_anything_of_its_own_has_a_board_of_this_boot(tmp_path, machine_id):
    def machine(name: str, boot: str) -> Path:
        root = tree(tmp_path / name, {"proc/cpuinfo": CPUINFO, "etc/hostname": "vm", BOOT: boot})
        return root if machine_id is None else tree(root, {"etc/machine-id": machine_id})

    first = board(machine("a", "1"))
    assert "no machine id" in first.passing and "-passing-" in first.id
    assert first.id != board(machine("b", "2")).id
    given = interface(machine("c", "1"), "eth0", "02:fc:00:00:00:01")  # somebody may have given it to many
    assert board(given).passing is not None
    bought = interface(machine("d", "1"), "eth0", "a4:bf:01:00:00:01")
    assert board(bought).passing is None
    assert board(bought).id == board(tree(bought, {BOOT: "2"})).id


def test_a_tree_that_says_nothing_is_no_error(tmp_path):
    assert board(tmp_path).passing is not None


def test_what_the_user_names_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("TEXT3D_BOARD", "Lab PC #2")
    boards = [board(host(tmp_path / "plain")), board(tree(host(tmp_path / "container"), {".dockerenv": "", BOOT: "1"}))]
    assert [(found.id, found.passing) for found in boards] == [("lab-pc-2", None)] * 2


def test_two_names_in_another_script_are_two_boards_with_names_of_their_own(monkeypatch):
    names = []
    for name in ("日本", "日本二", "!!!"):
        monkeypatch.setenv("TEXT3D_BOARD", name)
        names.append(board(Path("/")).id)
    assert len(set(names)) == 3 and all(re.fullmatch("board-[0-9a-f]{6}", name) for name in names)


def test_a_committed_boards_name_can_be_taken_up_again(monkeypatch):
    for name in ("cpu-amd-epyc-003596", "cpu-amd-epyc-family-25-model-1-003596"):
        monkeypatch.setenv("TEXT3D_BOARD", name)
        assert board(Path("/")).id == name
