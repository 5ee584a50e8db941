"""Which NVIDIA cards CUDA will show a process, asked of NVML: torch must not be loaded where tests are collected."""

from __future__ import annotations

import os
import re


class Unresolved(RuntimeError):
    """CUDA's numbers cannot be told from here; says what to set."""


def visible_handles(pynvml, chip: str) -> list:
    """NVML's handles of the cards that CUDA_VISIBLE_DEVICES leaves, in its order."""
    handles = _by_place(pynvml)
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return handles
    entries = [entry.strip() for entry in wanted.split(",")]
    if entries[0].startswith(("GPU-", "MIG-")):
        return _by_uuid(pynvml, handles, entries, entries[0][:4])
    numbers = _numbers(entries, len(handles))
    names = {_name(pynvml, handle) for handle in handles}
    by_speed = os.environ.get("CUDA_DEVICE_ORDER", "FASTEST_FIRST") != "PCI_BUS_ID"
    if by_speed and len(names) > 1 and any(chip in name for name in names) and 0 < len(numbers) < len(handles):
        raise Unresolved(
            f"CUDA_VISIBLE_DEVICES={wanted} counts by speed, which only CUDA knows, among {', '.join(sorted(names))}; "
            "set CUDA_DEVICE_ORDER=PCI_BUS_ID or name the card by its UUID"
        )
    return [handles[number] for number in numbers]


def _numbers(entries: list[str], count: int) -> list[int]:
    """As CUDA reads them: up to the first that is no card's number; a number given twice leaves none."""
    numbers: list[int] = []
    for entry in entries:
        match = re.match(r"\+?\d+", entry)
        if not match or int(match[0]) >= count:
            break
        if int(match[0]) in numbers:
            return []
        numbers.append(int(match[0]))
    return numbers


def _by_uuid(pynvml, handles: list, entries: list[str], kind: str) -> list:
    """Entries of one kind up to the first that names nothing; a card's UUID may be cut short. CUDA shows a process one
    slice (MIG) at most."""
    found = []
    for entry in entries:
        if not entry.startswith(kind):
            break
        if kind == "MIG-":
            try:
                return [pynvml.nvmlDeviceGetHandleByUUID(entry)]
            except pynvml.NVMLError:
                return []
        matching = [handle for handle in handles if _uuid(pynvml, handle).startswith(entry)]
        if len(matching) != 1:
            break
        if matching[0] in found:
            return []
        found += matching
    return found


def _by_place(pynvml) -> list:
    """All cards in the order of the PCI bus; one that does not answer keeps its place among NVML's."""
    handles = []
    for index in range(pynvml.nvmlDeviceGetCount()):
        try:
            handles.append(pynvml.nvmlDeviceGetHandleByIndex(index))
        except pynvml.NVMLError:
            continue  # CUDA does not show a lost card either
    places = [pci_place(pynvml, handle) for handle in handles]
    if None in places:
        return handles
    return [handle for _, handle in sorted(zip(places, handles), key=lambda pair: pair[0])]


def pci_place(pynvml, handle) -> tuple[int, int, int] | None:
    """Domain, bus and device numbers, of a slice those of its card."""
    for card in (lambda: handle, lambda: pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)):
        try:
            info = pynvml.nvmlDeviceGetPciInfo(card())
        except pynvml.NVMLError:
            continue
        return info.domain, info.bus, info.device
    return None


def bare(uuid: str) -> str:
    """A UUID without NVML's prefix, which torch leaves out."""
    return uuid.lower().removeprefix("gpu-").removeprefix("mig-")


def text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _name(pynvml, handle) -> str:
    try:
        return text(pynvml.nvmlDeviceGetName(handle))
    except pynvml.NVMLError:
        return "a card that does not answer"


def _uuid(pynvml, handle) -> str:
    try:
        return text(pynvml.nvmlDeviceGetUUID(handle))
    except pynvml.NVMLError:
        return ""
