"""Which machine is this? Facts that every user of it may read, so that root and a guest name the same board.

One fact is not enough: virtual machines that were made from one image share `/etc/machine-id`, and often the host name.
Where no fact outlasts the machine's boot, or a container lends its image's facts to many machines, the identity is of
this boot only, and says so.
"""

from __future__ import annotations

import json
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from suite.devices.backend import read_text

# Each is one machine's alone, unless that was copied whole. Linux shows a product's UUID to root alone, some systems
# and hypervisors to everybody: it counts only where it does not depend on who asks.
UNIQUE = {
    "machine id": "etc/machine-id",
    "hypervisor": "sys/hypervisor/uuid",
    "product": "sys/class/dmi/id/product_uuid",
    "serial number": "proc/device-tree/serial-number",
}
# Many machines share these; together with the others they still tell two apart. Clouds write the instance's id into the
# asset tag.
SHARED = {
    "vendor": "sys/class/dmi/id/sys_vendor",
    "product name": "sys/class/dmi/id/product_name",
    "board name": "sys/class/dmi/id/board_name",
    "asset tag": "sys/class/dmi/id/board_asset_tag",
}
NO_MACHINE_ID = "uninitialized"  # what systemd writes into an image before its first boot
NO_HOST_NAMES = ("localhost", "localhost.localdomain", "(none)")

# Files that container engines leave for everybody to see. The variable `container` of process 1 is left alone: only its
# owner may read it, and two users of one container would name two boards.
CONTAINER_FILES = (".dockerenv", "run/.containerenv", "run/systemd/container", "run/host/container-manager")
CONTAINER_GROUP = re.compile(
    r"/(docker|lxc)/|/lxc\.payload|/kubepods|/(docker|libpod|crio|cri-containerd)-[0-9a-f]{12}"
)
# Engines bring the container's own host table or name; lxcfs shows a container its share of /proc.
CONTAINER_MOUNTS = ("/etc/hosts", "/etc/hostname")
CONTAINER_FILE_SYSTEM = "fuse.lxcfs"


@dataclass(frozen=True)
class Identity:
    """`serial` is any text, equal for one machine and different for two."""

    serial: str
    passing: str | None = None  # why it is of this boot only


def identify(root: Path = Path("/")) -> Identity:
    """Tell the machine whose files lie below `root`."""
    known = facts(root)
    passing = _why_passing(known, root)
    if passing is not None:
        known |= {"boot": _fact(root / "proc/sys/kernel/random/boot_id")}
        # A container's host name is in the kernel's namespace of names; the file may be its image's.
        known |= {"container": _fact(root / "proc/sys/kernel/hostname")}
    return Identity(json.dumps({name: known[name] for name in sorted(known) if known[name]}), passing)


def facts(root: Path) -> dict[str, str | list[str] | None]:
    """What is known of the machine by name; None or empty where it does not say."""
    found: dict[str, str | list[str] | None] = {}
    found |= {name: _fact(root / path) for name, path in (UNIQUE | SHARED).items()}
    if found["machine id"] == NO_MACHINE_ID:
        found["machine id"] = None
    return found | {"host name": host_name(root), "hardware addresses": hardware_addresses(root)}


def host_name(root: Path) -> str | None:
    """The name that was given to the machine to keep, else the one that it has now."""
    names = [_fact(root / path) for path in ("etc/hostname", "proc/sys/kernel/hostname")]
    return next((name for name in names if name and name not in NO_HOST_NAMES), None)


def hardware_addresses(root: Path) -> list[str]:
    """Of the network interfaces that belong to the machine, sorted: with a device behind them, and not plugged in by
    USB, so that a laptop is the same board on its dock and off it."""
    folder, above = root / "sys/class/net", len(root.resolve().parts)
    found = set()
    for interface in folder.iterdir() if folder.is_dir() else []:
        device = interface / "device"
        if device.exists() and not any(part.startswith("usb") for part in device.resolve().parts[above:]):
            found.add(_lasting_address(interface))
    return sorted(address for address in found if address is not None)


def _lasting_address(interface: Path) -> str | None:
    """The address that the device was made with, or that its hypervisor gave it. Wireless and bonded interfaces wear
    another at times, and say the lasting one beside it; where the kernel (1), a bridge (2) or a program (3) chose the
    address, it is not known."""
    address = _fact(interface / "phy80211/macaddress") or _fact(interface / "bonding_slave/perm_hwaddr")
    if address is None and _fact(interface / "addr_assign_type") == "0":
        address = _fact(interface / "address")
    if address is None or not re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", address.lower()):
        return None
    return None if set(address) <= {"0", ":"} else address.lower()


def container(root: Path) -> str | None:
    """What shows that this is a container, or None."""
    for name in CONTAINER_FILES:
        if (root / name).exists():
            return f"/{name}"
    if found := CONTAINER_GROUP.search(read_text(root / "proc/self/cgroup") or ""):
        return f"control group {found[0].strip('/')}"
    for line in (read_text(root / "proc/self/mountinfo") or "").splitlines():
        left, _, right = line.partition(" - ")
        point, kind = (left.split() + [""] * 5)[4], (right.split() or [""])[0]
        if point in CONTAINER_MOUNTS or kind == CONTAINER_FILE_SYSTEM:
            return f"{kind} mounted at {point}"
    return None


def _why_passing(known: dict[str, str | list[str] | None], root: Path) -> str | None:
    if (shown := container(root)) is not None:
        return f"a container, or made from one's image: {shown}"
    # The second lowest bit of an address says that somebody chose it: many machines may have been given the same.
    own = [a for a in known["hardware addresses"] if not int(a[:2], 16) & 2]
    if own or any(known[name] for name in UNIQUE):
        return None
    return f"no {', '.join(UNIQUE)} or hardware address of its own"


def _fact(path: Path) -> str | None:
    """What a file says that everybody may read; else None, for root too."""
    try:
        readable = path.stat().st_mode & stat.S_IROTH
    except OSError:
        return None
    return read_text(path) if readable else None
