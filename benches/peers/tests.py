# SPDX-License-Identifier: GPL-3.0-only
# SPDX-FileCopyrightText: ALICE contributors
"""What can be tested without the peers, on bare Python: `python3 -m unittest benches/peers/tests.py`."""

import os
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import machine
import processes
import report
import run
from engines import Failed, Lines, StableDiffusionCpp, seconds_in_log
from works import Setting, Work, all_works

# Says how often it was asked, as if that were seconds.
COUNTS = """
import sys
print('ready', 'for tests', flush=True)
for number, line in enumerate(sys.stdin):
    _, _, file = line.rstrip().partition(' ')
    if file:
        open(file, 'w').write('answer')
    print(number, flush=True)
"""
FAILS = "import sys; sys.exit('no such processor\\nnote: and a hint')"


def engine(name: str, script: str) -> Lines:
    return Lines(name, [sys.executable, "-c", script])


class Turns(unittest.TestCase):
    def test_what_comes_first_is_not_counted_and_failures_are_told(self):
        work = Work("unet-x", "Title", "unet", [engine("ALICE", COUNTS), engine("other", FAILS)], {}, "answers")
        with tempfile.TemporaryDirectory() as scratch:
            ours, other = run.take_turns(work, 3, Path(scratch))
            self.assertEqual(ours.answer.read_text(), "answer")
        self.assertEqual((ours.about, ours.values), ("for tests", [1, 2, 3]))
        self.assertEqual(len(ours.processor_s), 3)
        self.assertEqual((other.failure, other.values, other.median), ("no such processor", [], None))

    def test_works_are_named_by_their_beginning(self):
        self.assertTrue(run.chosen("unet-avx2", []))
        self.assertTrue(run.chosen("unet-avx2", ["unet"]))
        self.assertTrue(run.chosen("unet-avx2", ["unet-avx2"]))
        self.assertFalse(run.chosen("unet-avx2", ["une", "decode"]))

    def test_every_bar_is_against_an_engine_that_takes_part(self):
        setting = Setting(Path("sd15"), Path("sdxl"), 2, Path("bench"), Path("alice"), Path("kept"), Path("sd-cli"))
        for work in all_works(setting):
            names = [engine.name for engine in work.engines]
            self.assertEqual(names[0], "ALICE")
            self.assertEqual(len(set(names)), len(names))
            self.assertLessEqual(set(work.bars), set(names))


class Processes(unittest.TestCase):
    def test_what_a_child_of_a_child_holds_is_counted(self):
        holds = "held = bytearray(b'x' * 60_000_000); print(flush=True); input()"
        starts = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {holds!r}])"
        with processes.Peak(os.getpid()) as peak:
            child = subprocess.Popen([sys.executable, "-c", starts], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            child.stdout.readline()
            found = processes.descendants(os.getpid())
            until = time.monotonic() + 10
            while peak.most.total < 60_000_000 and time.monotonic() < until:
                time.sleep(0.01)
            child.communicate(b"\n")
        self.assertEqual(len(found), 2)
        self.assertNotIn(os.getpid(), found)
        self.assertGreater(peak.most.total, 60_000_000)


    def test_what_a_child_computes_is_counted(self):
        computes = "import os\nwhile os.times().user < 0.2: pass\nprint(flush=True); input()"
        child = subprocess.Popen([sys.executable, "-c", computes], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        child.stdout.readline()
        found = processes.processor_seconds(child.pid)
        child.communicate(b"\n")
        self.assertGreaterEqual(found, 0.2)


class Machine(unittest.TestCase):
    def test_two_threads_of_a_core_count_once(self):
        block = "processor: {}\nphysical id: 0\ncore id: {}\n"
        cpuinfo = "\n".join(block.format(number, number // 2) for number in range(4))
        self.assertEqual(machine.cores(cpuinfo, {0, 1, 2, 3}), 2)
        self.assertEqual(machine.cores(cpuinfo, {0, 1}), 1)
        self.assertEqual(machine.cores("processor: 0\n\nprocessor: 1\n", {0, 1}), 2)


class StableDiffusionCppLog(unittest.TestCase):
    LOG = ("[INFO ] x.cpp:1 - sampling completed, taking 8.50s\n"
           "[INFO ] x.cpp:2 - decode_first_stage completed, taking 6.10s\n")

    def test_seconds_are_those_of_one_step_and_of_decoding(self):
        self.assertEqual(seconds_in_log(self.LOG, "unet", 2), 4.25)
        self.assertEqual(seconds_in_log(self.LOG, "decode", 2), 6.1)

    def test_a_log_without_them_is_a_failure_that_names_its_last_line(self):
        with self.assertRaisesRegex(Failed, "no such model"):
            seconds_in_log("loading\nno such model\n", "unet", 2)

    def test_a_program_that_is_not_there_is_a_failure(self):
        with self.assertRaisesRegex(Failed, "nowhere"):
            StableDiffusionCpp("x", Path("nowhere"), Path("."), 64, 1).start()


class Report(unittest.TestCase):
    def result(self, asked: str = "unet") -> report.Result:
        engines = [report.Measured("ALICE", "bf16", [3.0, 2.0, 2.5], [9.0, 9.5, 10.0]),
                   report.Measured("PyTorch", "bf16", [4.0, 5.0, 6.0]),
                   report.Measured("OpenVINO", failure="not installed")]
        return report.Result("UNet", asked, "", {"PyTorch": 0.5, "OpenVINO": 0.9}, engines, ("0.1", "2.0"))

    def test_a_table_has_medians_and_ratios(self):
        lines = report.table(self.result(), None)
        self.assertIn("| ALICE | 2.500 | 2.000 to 3.000 |  | 9.50 |  | bf16 |", lines)
        self.assertIn("| PyTorch | 5.000 | 4.000 to 6.000 | 0.50 |  |  | bf16 |", lines)
        self.assertIn("| OpenVINO | not measured: not installed | | | | |  |", lines)

    def test_a_bar_is_held_missed_or_not_measured(self):
        result = self.result()
        self.assertEqual(report.bars([result])[2:],
                         ["| UNet | PyTorch | 0.5 x | 0.50 | held |", "| UNet | OpenVINO | 0.9 x |  |  |"])
        result.engines[0].values = [3.0]
        self.assertEqual(report.bars([result])[2], "| UNet | PyTorch | 0.5 x | 0.60 | missed |")

    def test_memory_is_in_gib(self):
        result = self.result("memory")
        result.engines[0].values = [3 * 2**29]
        self.assertIn("| ALICE | 1.50 | 1.50 to 1.50 |  | 9.50 |  | bf16 |", report.table(result, None))


if __name__ == "__main__":
    unittest.main()
