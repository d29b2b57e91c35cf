"""What the CPU is called that int8 was measured on."""

from __future__ import annotations

from pathlib import Path

from mobilenet_hub.runtime.cpu import cpu_flags, instruction_set


def test_flags_are_read_as_linux_writes_them(tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text("processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512_vnni\n\nflags\t: fpu\n")
    assert cpu_flags(path) == {"fpu", "avx2", "avx512f", "avx512_vnni"}
    path.write_text("Features\t: fp asimd asimddp\n")
    assert cpu_flags(path) == {"fp", "asimd", "asimddp"}
    assert cpu_flags(Path("/nowhere")) == frozenset()


def test_the_best_instructions_name_the_set():
    assert instruction_set(frozenset({"avx2", "avx512f", "avx512_vnni"})) == "avx512_vnni"
    assert instruction_set(frozenset({"sse4_1", "avx2"})) == "avx2"
    assert instruction_set(frozenset({"asimd"})) == "asimd"
    assert instruction_set(frozenset())
