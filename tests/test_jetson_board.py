"""Which Jetson is this, and in which condition? From recorded trees of its kernel's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from suite.catalogue.devices import DEVICES
from suite.devices.backend import NotHere, backend_of, passing_line, read_text
from suite.devices.jetson import Jetson
from tests.jetson_trees import (
    ORIN,
    RELEASE,
    SERIAL,
    device,
    no_board_variable_and_no_nvpmodel,  # noqa: F401 - a fixture
    orin,  # noqa: F401 - a fixture
    write,
)


def test_an_orin_is_known_by_its_device_tree(orin):
    board = device(orin).find_board()
    assert board.chip == "NVIDIA Jetson AGX Orin Developer Kit"
    assert board.driver == "R36 (release), REVISION: 4.3"
    assert board.id.startswith("nvidia-jetson-agx-orin-")
    assert "\0" not in board.id + board.chip
    assert board.clocks == "gpu 1300 MHz cpu 2202 MHz"


def test_boards_of_one_type_differ_by_their_serial_and_the_serial_itself_is_not_shown(orin):
    first = device(orin).find_board().id
    assert device(orin).find_board().id == first
    assert SERIAL.strip("\0") not in first
    write(orin, {"proc/device-tree/serial-number": "1421622054321\0"})
    assert device(orin).find_board().id != first


def test_a_board_can_be_named(orin, monkeypatch):
    monkeypatch.setenv("TEXT3D_BOARD", "Lab Orin #2")
    assert device(orin).find_board().id == "lab-orin-2"


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (None, "this is no NVIDIA Jetson AGX Orin: it has no device tree"),
        ("NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0", "it is a NVIDIA Jetson Orin Nano"),
        ("NVIDIA Jetson AGX Xavier\0", "it is a NVIDIA Jetson AGX Xavier"),
        ("Raspberry Pi 5 Model B Rev 1.0\0", "it is a Raspberry Pi 5"),
    ],
)
def test_another_machine_is_not_here_for_a_stated_reason(tmp_path, model, reason):
    root = write(tmp_path, {"proc/device-tree/model": model} if model else {})
    with pytest.raises(NotHere) as caught:
        device(root).find_board()
    assert reason in str(caught.value) and "\0" not in str(caught.value)


def test_a_bare_module_without_serial_release_and_clocks_is_still_a_board(tmp_path):
    board = device(write(tmp_path, {"proc/device-tree/model": ORIN})).find_board()
    assert (board.driver, board.power_mode, board.clocks) == (None, None, None)


def test_clocks_that_read_as_no_number_are_left_out(orin):
    """Read at pytest's start: what a driver writes there must not stop it."""
    write(orin, {"sys/class/devfreq/17000000.gpu/max_freq": "<unknown>\n"})
    assert device(orin).find_board().clocks == "cpu 2202 MHz"


def test_the_gpus_clock_is_found_on_jetpack_5_as_well(tmp_path):
    root = write(
        tmp_path, {"proc/device-tree/model": ORIN, "sys/class/devfreq/17000000.ga10b/max_freq": "1300500000\n"}
    )
    assert device(root).find_board().clocks == "gpu 1300 MHz"


def test_the_memory_clock_which_only_root_may_read_is_no_part_of_a_board(orin):
    """One board has one fingerprint, whoever starts pytest."""
    as_user = device(orin).find_board()
    write(orin, {"sys/kernel/debug/bpmp/debug/clk/emc/max_rate": "3199000000\n"})
    assert device(orin).find_board() == as_user


CPU, GPU = "sys/devices/system/cpu/cpu{}/cpufreq", "sys/class/devfreq/17000000.gpu"


@pytest.mark.parametrize(
    ("files", "clocks"),
    [
        ({f"{GPU}/min_freq": "306000000"}, "gpu 1300 MHz free cpu 2202 MHz"),
        ({f"{GPU}/min_freq": "1300500000"}, "gpu 1300 MHz pinned cpu 2202 MHz"),
        ({f"{GPU}/min_freq": "306000000", f"{GPU}/governor": "performance"}, "gpu 1300 MHz pinned cpu 2202 MHz"),
        ({f"{CPU.format(0)}/scaling_min_freq": "729600"}, "gpu 1300 MHz cpu 2202 MHz free"),
        ({f"{CPU.format(0)}/scaling_min_freq": "2201600"}, "gpu 1300 MHz cpu 2202 MHz pinned"),
        ({f"{CPU.format(0)}/scaling_governor": "performance"}, "gpu 1300 MHz cpu 2202 MHz pinned"),
        (
            {f"{CPU.format(0)}/scaling_min_freq": "2201600", f"{CPU.format(4)}/scaling_min_freq": "729600"}
            | {f"{CPU.format(4)}/scaling_max_freq": "1728000"},
            "gpu 1300 MHz cpu 2202/1728 MHz free",
        ),
    ],
)
def test_clocks_that_are_pinned_and_clocks_that_are_free_are_two_conditions(orin, files, clocks):
    write(orin, {name: f"{text}\n" for name, text in files.items()})
    assert device(orin).find_board().clocks == clocks


# The module behind the wording of its kit.

COMPATIBLE = "nvidia,p3737-0000+p3701-0005\0nvidia,p3701-0005\0nvidia,tegra234\0"


@pytest.mark.parametrize(
    "model",
    [
        "NVIDIA Jetson AGX Orin Developer Kit\0",  # JetPack 6
        "Jetson AGX Orin Developer Kit\0",  # JetPack 5
        "NVIDIA Orin Jetson-Small Developer Kit\0",  # the first kits
        "Jetson AGX Orin\0",
    ],
)
def test_one_module_is_one_board_across_jetpack_versions(orin, model):
    before = device(orin).find_board()
    write(orin, {"proc/device-tree/model": model, "proc/device-tree/compatible": COMPATIBLE})
    assert device(orin).find_board().id == before.id


def test_the_wording_of_the_model_makes_no_other_chip_of_it(orin):
    before = device(orin).find_board().chip
    write(orin, {"proc/device-tree/model": "Jetson AGX Orin Developer Kit\0"})
    assert device(orin).find_board().chip == before


def test_a_tree_without_model_is_told_by_the_part_number_of_its_module(tmp_path):
    board = device(write(tmp_path, {"proc/device-tree/compatible": COMPATIBLE})).find_board()
    assert board.chip == "NVIDIA Jetson AGX Orin"


@pytest.mark.parametrize("part", ["p3767-0005", "p37011-0005"])
def test_another_modules_part_number_is_another_device(tmp_path, part):
    root = write(tmp_path, {"proc/device-tree/compatible": f"nvidia,p3768-0000+{part}\0nvidia,tegra234\0"})
    with pytest.raises(NotHere, match=f"compatible with nvidia,p3768-0000\\+{part}, nvidia,tegra234"):
        device(root).find_board()


def test_a_model_that_was_handed_to_a_container_counts(tmp_path):
    assert device(write(tmp_path, {"tmp/nv_jetson_model": ORIN})).find_board().chip == ORIN.strip("\0")


@pytest.mark.parametrize("files", [{"etc/nv_tegra_release": RELEASE}, {"sys/devices/soc0/family": "Tegra\n"}])
def test_a_container_without_device_tree_is_told_what_to_mount(tmp_path, files):
    with pytest.raises(NotHere) as caught:
        device(write(tmp_path, files)).find_board()
    assert "hidden by a container" in str(caught.value)
    assert "-v /proc/device-tree:/proc/device-tree:ro" in str(caught.value)


def test_a_folder_in_place_of_the_model_is_said_to_be_one(tmp_path):
    (tmp_path / "proc/device-tree/model").mkdir(parents=True)
    with pytest.raises(NotHere, match="/proc/device-tree/model is a folder and no file"):
        device(tmp_path).find_board()


def test_a_board_without_serial_number_says_that_it_needs_a_name(tmp_path, monkeypatch):
    """Two such boards would share one history."""
    boot = "proc/sys/kernel/random/boot_id"
    one = device(write(tmp_path / "one", {"proc/device-tree/model": ORIN, boot: "a\n"})).find_board()
    two = device(write(tmp_path / "two", {"proc/device-tree/model": ORIN, boot: "b\n"})).find_board()
    assert one.id != two.id
    assert "TEXT3D_BOARD=NAME" in passing_line("orin", one)
    monkeypatch.setenv("TEXT3D_BOARD", "desk")
    assert device(tmp_path / "one").find_board().passing is None


# The power mode.


@pytest.fixture
def answer(tmp_path, monkeypatch):
    """Puts an nvpmodel on the path that prints these bytes."""

    def put(said: bytes, folder: Path | None = None, status: int = 0) -> None:
        program = (folder or tmp_path / "bin") / "nvpmodel"
        program.parent.mkdir(parents=True, exist_ok=True)
        (program.parent / "said").write_bytes(said)
        program.write_text(f'#!/bin/sh\n[ "$1" = -q ] && /bin/cat "{program.parent}/said"; exit {status}\n')
        program.chmod(0o755)
        if folder is None:
            monkeypatch.setenv("PATH", str(program.parent))

    return put


@pytest.mark.parametrize(
    ("said", "mode"),
    [
        (b"NV Fan Mode:quiet\nNV Power Mode: MODE_30W\n2\n", "MODE_30W"),
        (b"NV Power Mode: MAXN\n0\n", "MAXN"),
        (b"NVPM WARN: fan mode is not set!\nNV Power Mode: MAXN_SUPER\n2\n", "MAXN_SUPER"),
        (b"NVPM VERB: Current mode: NV Power Mode: MODE_15W_6CORE\r\n2\r\n", "MODE_15W_6CORE"),
        (b"NV Power Mode: Lab quiet\n5\n", "Lab quiet"),
        (b"NV Power Mode: Lab loud\n6\n", "Lab loud"),
        (b"NV power mode : 25 W, fan off  \n7\n", "25 W, fan off"),
        (b"NV Power Mode: \n2\n", "mode 2"),
        (b"NV Power Mode:\n", None),
        (b"NV Power Mode: 40\xb0\n5\n", "40\ufffd"),
        (b"nothing of use\n", None),
        (b"", None),
    ],
)
def test_the_power_mode_is_the_line_that_nvpmodel_says(orin, answer, said, mode):
    answer(said)
    assert device(orin).find_board().power_mode == mode


def test_nvpmodel_is_found_where_it_lies_though_the_path_of_cron_leaves_that_out(orin, answer):
    answer(b"NV Power Mode: MODE_50W\n3\n", folder=orin / "usr/sbin")
    assert device(orin).find_board().power_mode == "MODE_50W"


CONFIGURATION = "< POWER_MODEL ID=0 NAME=MAXN >\nGPU MAX_FREQ -1\n< POWER_MODEL ID=12 NAME=Lab quiet >\n"


@pytest.mark.parametrize(
    ("status", "definitions", "mode"),
    [
        ("pmode:0000\n", CONFIGURATION, "MAXN"),
        ("pmode:0012", CONFIGURATION, "Lab quiet"),
        ("pmode:0002\n", CONFIGURATION, "mode 2"),
        ("pmode:0000\n", None, "mode 0"),
        ("junk\n", CONFIGURATION, None),
    ],
)
def test_where_nvpmodel_does_not_answer_its_own_files_tell_the_mode(orin, answer, status, definitions, mode):
    """It refuses some users, and one board has one fingerprint."""
    answer(b"", status=1)
    write(orin, {"var/lib/nvpmodel/status": status} | ({"etc/nvpmodel.conf": definitions} if definitions else {}))
    assert device(orin).find_board().power_mode == mode


def test_device_tree_strings_lose_their_trailing_zeros_and_spaces(tmp_path):
    (tmp_path / "x").write_bytes(b" a b \n\0\0")
    assert read_text(tmp_path / "x") == "a b"
    (tmp_path / "x").write_bytes(b"\0\n")
    assert read_text(tmp_path / "x") is None
    assert read_text(tmp_path / "absent") is None


def test_the_catalogue_names_the_jetson_backend_for_orin():
    assert isinstance(backend_of(DEVICES["orin"]), Jetson)
