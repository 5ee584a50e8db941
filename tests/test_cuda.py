"""NVIDIA cards, from a made NVML and a made torch.cuda."""

from __future__ import annotations

import sys
import types

import pytest
import torch

from suite.catalogue.devices import DEVICES
from suite.devices.backend import NotHere
from suite.devices.cuda import AllocatorPeak, Cuda


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in ("TEXT3D_BOARD", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)


class NVMLError(Exception):
    pass


def nvml(
    names: list[str],
    *,
    driver: bool = True,
    unsupported: tuple[str, ...] = (),
    as_bytes: bool = False,
    buses: list[int] | None = None,
):
    """A pynvml module with these cards; `unsupported` functions raise as the driver does. A handle is a card's number
    here; the bus numbers are those numbers unless told."""
    module = types.ModuleType("pynvml")
    module.NVMLError, module.NVML_CLOCK_GRAPHICS = NVMLError, 0
    module.NVML_PERF_POLICY_POWER, module.NVML_PERF_POLICY_THERMAL = 0, 1
    module.open = 0

    def init():
        if not driver:
            raise NVMLError("Driver Not Loaded")
        module.open += 1

    def by_uuid(uuid):
        if uuid == "MIG-a":
            return "slice"
        if uuid not in [f"GPU-{handle}" for handle in range(len(names))]:
            raise NVMLError("Not Found")
        return int(uuid.removeprefix("GPU-"))

    def place(handle):
        if handle == "slice":
            raise NVMLError("Not Supported")
        return types.SimpleNamespace(domain=0, bus=buses[handle] if buses else handle, device=0)

    def shutdown():
        module.open -= 1

    text = (lambda value: value.encode()) if as_bytes else (lambda value: value)
    functions = {
        "nvmlInit": init,
        "nvmlShutdown": shutdown,
        "nvmlDeviceGetCount": lambda: len(names),
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetHandleByUUID": by_uuid,
        "nvmlDeviceGetDeviceHandleFromMigDeviceHandle": lambda handle: 0,
        "nvmlDeviceGetPciInfo": place,
        "nvmlDeviceGetName": lambda handle: text(f"{names[0]} MIG 1g.10gb" if handle == "slice" else names[handle]),
        "nvmlDeviceGetUUID": lambda handle: text("MIG-a" if handle == "slice" else f"GPU-{handle}"),
        "nvmlSystemGetDriverVersion": lambda: text("570.86.15"),
        "nvmlDeviceGetEnforcedPowerLimit": lambda handle: 70_000,
        "nvmlDeviceGetMaxClockInfo": lambda handle, clock: 1590,
        "nvmlDeviceGetTotalEnergyConsumption": lambda handle: 1_000 * handle,
    }

    def refuse(*_):
        raise NVMLError("Not Supported")

    for name, function in functions.items():
        setattr(module, name, refuse if name in unsupported else function)
    return module


def card(monkeypatch, module, device: str = "t4") -> Cuda:
    monkeypatch.setitem(sys.modules, "pynvml", module)
    return Cuda(DEVICES[device])


@pytest.mark.parametrize("as_bytes", [False, True])
def test_the_matching_card_is_the_board(monkeypatch, as_bytes):
    module = nvml(["NVIDIA A100-SXM4-80GB", "Tesla T4"], as_bytes=as_bytes)
    backend = card(monkeypatch, module)
    board = backend.find_board()
    assert (board.chip, board.driver, board.power_mode) == ("Tesla T4", "570.86.15", "70 W limit")
    assert board.id.startswith("tesla-t4-") and board.clocks == "graphics max 1590 MHz"
    assert backend.uuid == "GPU-1"
    assert module.open == 0  # closed again


def test_two_cards_of_a_kind_are_two_boards(monkeypatch):
    first = card(monkeypatch, nvml(["Tesla T4"])).find_board()
    second = card(monkeypatch, nvml(["Tesla V100", "Tesla T4"])).find_board()
    assert first.id != second.id


def test_another_card_is_not_here_and_named(monkeypatch):
    module = nvml(["NVIDIA GeForce RTX 4090"])
    with pytest.raises(NotHere, match="this is no NVIDIA T4: the GPUs here are NVIDIA GeForce RTX 4090"):
        card(monkeypatch, module).find_board()
    assert module.open == 0
    with pytest.raises(NotHere, match="the GPUs here are none"):
        card(monkeypatch, nvml([])).find_board()


def test_without_a_driver_nothing_is_here(monkeypatch):
    with pytest.raises(NotHere, match=r"this is no NVIDIA H100: no NVIDIA driver answers \(Driver Not Loaded\)"):
        card(monkeypatch, nvml([], driver=False), "h100").find_board()


def test_every_h100_is_an_h100(monkeypatch):
    for name in ("NVIDIA H100 80GB HBM3", "NVIDIA H100 PCIe", "NVIDIA H100 NVL"):
        assert card(monkeypatch, nvml([name]), "h100").find_board().chip == name


@pytest.mark.parametrize(
    "function", ["nvmlDeviceGetEnforcedPowerLimit", "nvmlDeviceGetMaxClockInfo", "nvmlSystemGetDriverVersion"]
)
def test_a_matching_card_whose_driver_keeps_something_to_itself_is_here_all_the_same(monkeypatch, function):
    assert card(monkeypatch, nvml(["Tesla T4"], unsupported=(function,))).find_board().chip == "Tesla T4"


def test_a_card_that_cannot_be_asked_does_not_hide_the_one_behind_it(monkeypatch):
    module = nvml(["broken", "Tesla T4"])
    name = module.nvmlDeviceGetName

    def ask(handle):
        if handle == 0:
            raise NVMLError("GPU is lost")
        return name(handle)

    module.nvmlDeviceGetName = ask
    assert card(monkeypatch, module).find_board().chip == "Tesla T4"


def test_a_machine_without_pynvml_has_no_card(monkeypatch):
    with pytest.raises(NotHere, match="pynvml"):
        card(monkeypatch, None).find_board()


def test_what_the_driver_does_not_count_is_left_out(monkeypatch):
    module = nvml(["Tesla T4"])
    module.nvmlDeviceGetViolationStatus = lambda handle, policy: (_ for _ in ()).throw(NVMLError("Not Supported"))
    assert card(monkeypatch, module).throttle_marks() == {}
    assert (
        card(monkeypatch, nvml(["Tesla T4"], unsupported=("nvmlDeviceGetTotalEnergyConsumption",))).energy_meter()
        is None
    )


def test_energy_of_a_card_is_the_growth_of_its_counter(monkeypatch):
    module, counter = nvml(["Tesla T4"]), iter([1_000, 5_000, 47_000])
    module.nvmlDeviceGetTotalEnergyConsumption = lambda handle: next(counter)
    meter = card(monkeypatch, module).energy_meter()
    meter.start()
    assert meter.read().energy_j == pytest.approx(42.0)


def test_a_counter_that_stops_answering_makes_energy_not_known_for_a_stated_reason(monkeypatch):
    module = nvml(["Tesla T4"])
    meter = card(monkeypatch, module).energy_meter()
    meter.start()
    module.nvmlDeviceGetTotalEnergyConsumption = lambda handle: (_ for _ in ()).throw(NVMLError("GPU is lost"))
    assert meter.read() is None
    assert meter.reason == "NVML's energy counter does not answer (GPU is lost)"


def test_slowdowns_for_power_and_heat_are_told_in_microseconds(monkeypatch):
    module, slowed_ns = nvml(["Tesla T4"]), [5_000_000_000]
    module.nvmlDeviceGetViolationStatus = lambda handle, policy: types.SimpleNamespace(violationTime=slowed_ns[0])
    backend = card(monkeypatch, module)
    assert backend.throttle_marks() == {"power_us": 5_000_000, "thermal_us": 5_000_000}


# Which card: NVML's numbers are not torch's.

MIXED = ["NVIDIA A100-SXM4-80GB", "Tesla T4", "Tesla T4"]


@pytest.mark.parametrize(
    ("visible", "order", "uuid"),
    [
        (None, None, "GPU-1"),
        ("2", "PCI_BUS_ID", "GPU-2"),
        ("0,2,1", "PCI_BUS_ID", "GPU-2"),
        (" 2 , 1", "PCI_BUS_ID", "GPU-2"),
        ("GPU-2", None, "GPU-2"),
        ("GPU-2,GPU-1", None, "GPU-2"),
        ("GPU-0,GPU-1,nonsense,GPU-2", None, "GPU-1"),
        ("0,1,2", None, "GPU-1"),  # all of them, in whatever order
    ],
)
def test_the_board_is_the_first_matching_card_that_cuda_shows(monkeypatch, visible, order, uuid):
    environment(monkeypatch, visible, order)
    backend = card(monkeypatch, nvml(MIXED))
    backend.find_board()
    assert backend.uuid == uuid


@pytest.mark.parametrize("visible", ["", "-1", "0", "0,-1,1", "1,1", "GPU-0", "GPU-9", "GPU-1,GPU-1", "none", "7"])
def test_a_card_that_cuda_does_not_show_is_not_here(monkeypatch, visible):
    environment(monkeypatch, visible, "PCI_BUS_ID")
    with pytest.raises(NotHere, match="this is no NVIDIA T4: the GPUs here are"):
        card(monkeypatch, nvml(MIXED)).find_board()


def test_numbers_by_speed_among_different_cards_are_not_guessed(monkeypatch):
    environment(monkeypatch, "1", None)
    with pytest.raises(NotHere, match="for certain: CUDA_VISIBLE_DEVICES=1 counts by speed.*PCI_BUS_ID"):
        card(monkeypatch, nvml(MIXED)).find_board()
    backend = card(monkeypatch, nvml(["Tesla T4", "Tesla T4"]))  # equal cards stand in the order of the bus
    backend.find_board()
    assert backend.uuid == "GPU-1"


def test_numbers_count_along_the_bus_whatever_nvmls_own_order(monkeypatch):
    environment(monkeypatch, "0", "PCI_BUS_ID")
    backend = card(monkeypatch, nvml(["Tesla T4", "Tesla T4"], buses=[0x81, 0x04]))
    backend.find_board()
    assert backend.uuid == "GPU-1"


def test_a_slice_of_a_card_is_a_board_of_its_own(monkeypatch):
    whole = card(monkeypatch, nvml(["NVIDIA H100 80GB HBM3"]), "h100").find_board()
    environment(monkeypatch, "MIG-a", None)
    backend = card(monkeypatch, nvml(["NVIDIA H100 80GB HBM3"]), "h100")
    board = backend.find_board()
    assert board.chip == "NVIDIA H100 80GB HBM3 MIG 1g.10gb" and board.id != whole.id
    torch_sees(monkeypatch, ("another uuid", 0))  # only the place on the bus tells
    assert backend.torch_index() == 0


def test_energy_and_slowdowns_are_those_of_the_card_that_is_measured(monkeypatch):
    environment(monkeypatch, "GPU-2", None)
    module, asked = nvml(MIXED), []
    module.nvmlDeviceGetViolationStatus = lambda handle, policy: (
        asked.append(handle) or types.SimpleNamespace(violationTime=0)
    )
    backend = card(monkeypatch, module)
    backend.throttle_marks()
    assert set(asked) == {2} and backend.energy_meter().handle == 2


def environment(monkeypatch, visible: str | None, order: str | None) -> None:
    for name, value in (("CUDA_VISIBLE_DEVICES", visible), ("CUDA_DEVICE_ORDER", order)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)


def torch_sees(monkeypatch, *cards: tuple[str | None, int]) -> None:
    """Torch with cards of these UUIDs (as torch writes them) and bus numbers."""
    seen = [types.SimpleNamespace(name="a card", pci_domain_id=0, pci_bus_id=bus, pci_device_id=0) for _, bus in cards]
    for properties, (uuid, _) in zip(seen, cards):
        if uuid is not None:
            properties.uuid = uuid
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(seen))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: seen[index])


@pytest.mark.parametrize(
    ("cards", "index"),
    [
        ([("0", 0), ("1", 1), ("2", 2)], 1),
        ([("1", 1), ("0", 0)], 0),  # fastest first
        ([("2", 2), ("0", 0), ("1", 1)], 2),
        ([(None, 2), (None, 1)], 1),  # a torch that has no UUIDs
    ],
)
def test_torchs_number_of_the_board_is_found_by_uuid_or_by_bus(monkeypatch, cards, index):
    torch_sees(monkeypatch, *cards)
    assert card(monkeypatch, nvml(MIXED)).torch_index() == index


def test_another_card_is_never_measured_in_its_place(monkeypatch):
    torch_sees(monkeypatch, ("0", 0), ("2", 2))
    with pytest.raises(RuntimeError, match="torch does not see the NVIDIA T4 GPU-1, but a card, a card"):
        card(monkeypatch, nvml(MIXED)).torch_index()


# Memory, of a made allocator.


def test_what_the_process_reserved_is_the_highest_of_loading_and_of_all_stages(monkeypatch):
    allocator = types.SimpleNamespace(allocated=0, reserved=0)

    def use(allocated: int, reserved: int) -> None:
        allocator.allocated, allocator.reserved = allocated, reserved

    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: 0)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: allocator.allocated)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: allocator.reserved)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: use(0, 0))
    gauge = AllocatorPeak()
    use(50, 60)
    gauge.loaded()
    stages = {}
    for name, peak in (("text encoder", 30), ("base diffusion", 90), ("upsampler", 20)):
        gauge.restart()
        use(peak, peak + 10)
        stages[name] = gauge.peak_bytes()
    memory = gauge.record(stages)
    assert memory.process_peak_memory_bytes == 100
    assert (memory.peak_memory_bytes, memory.load_peak_memory_bytes) == (90, 50)
